//! The last audit lines, and those that come from now on, for whoever watches: the panel, `GET /decisions`, an explanation by id.
//! No door waits for it; who reads too slowly is told how many lines it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::line::{Filter, Line};

/// So many lines are kept, and apart from them so many denials: a busy gate's allows must not push those out.
pub const KEPT: usize = 1000;
/// Bytes that may wait for one reader.
const WAITING: usize = 4 * 1024 * 1024;

/// A handle to the last lines of this process.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// How many lines there were.
    count: u64,
    all: VecDeque<Kept>,
    denials: VecDeque<Kept>,
    feeds: Vec<Weak<Queue>>,
}

#[derive(Clone, Debug)]
struct Kept {
    number: u64,
    text: Arc<str>,
}

impl Recent {
    /// The last `n` lines that the filter admits, the oldest first: of the last thousand, and of the last thousand denials.
    pub fn last(&self, n: usize, filter: &Filter) -> Vec<Line> {
        pick(self.kept(), n, filter)
    }

    /// The line of the decision with this id, where it is still kept.
    pub fn find(&self, id: &str) -> Option<Line> {
        let named = format!("\"id\":\"{id}\"");
        let mut kept = self.kept();
        // Of a stream's end there may be a line, too.
        kept.retain(|kept| kept.text.contains(&named));
        kept.iter().filter_map(|kept| Line::parse(&kept.text)).find(|line| line.is_decision() && line.id == id)
    }

    /// All lines from now on.
    pub fn subscribe(&self) -> Feed {
        self.follow(0, &Filter::default()).1
    }

    /// The last `n` lines that the filter admits, and all lines that come after them: none is in both or in neither.
    pub fn follow(&self, n: usize, filter: &Filter) -> (Vec<Line>, Feed) {
        let queue = Arc::new(Queue::default());
        let kept = {
            let mut inner = self.lock();
            inner.feeds.push(Arc::downgrade(&queue));
            inner.kept()
        };
        (pick(kept, n, filter), Feed(queue))
    }

    /// Takes whole lines in. `missed` lines before them were never seen.
    pub(super) fn add(&self, lines: &Bytes, missed: u64) {
        let mut inner = self.lock();
        inner.keep(lines);
        inner.feeds.retain(|feed| {
            let Some(queue) = feed.upgrade() else { return false };
            queue.offer(lines, missed);
            true
        });
    }

    fn kept(&self) -> Vec<Kept> {
        self.lock().kept()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, lines: &Bytes) {
        let first = self.count;
        self.count += count(lines);
        let keeps_from = self.count.saturating_sub(KEPT as u64);
        for (number, line) in (first..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
            let denial = is_denial(line);
            if (denial || number >= keeps_from)
                && let Ok(text) = str::from_utf8(line.strip_suffix(b"\n").unwrap_or(line))
            {
                let kept = Kept { number, text: text.into() };
                if denial {
                    push(&mut self.denials, kept.clone());
                }
                if number >= keeps_from {
                    push(&mut self.all, kept);
                }
            }
        }
    }

    /// Denials that are older than all else, then all else.
    fn kept(&self) -> Vec<Kept> {
        let from = self.all.front().map_or(u64::MAX, |first| first.number);
        self.denials.iter().take_while(|kept| kept.number < from).chain(&self.all).cloned().collect()
    }
}

fn push(ring: &mut VecDeque<Kept>, kept: Kept) {
    if ring.len() >= KEPT {
        ring.pop_front();
    }
    ring.push_back(kept);
}

/// Looks where the writer of lines puts the outcome: after time, kind, id and door.
fn is_denial(line: &[u8]) -> bool {
    let head = line.get(..160).unwrap_or(line);
    [&b"\"outcome\":\"deny\""[..], b"\"outcome\":\"shadow\""].iter().any(|outcome| memchr::memmem::find(head, outcome).is_some())
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

fn pick(kept: Vec<Kept>, n: usize, filter: &Filter) -> Vec<Line> {
    let newest = kept.iter().rev().filter_map(|kept| Line::parse(&kept.text)).filter(|line| filter.admits(line));
    let mut lines: Vec<Line> = newest.take(n).collect();
    lines.reverse();
    lines
}

/// What waits for one reader.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    news: VecDeque<News>,
}

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Whole lines.
    Lines(Bytes),
    /// So many lines that it will not see.
    Missed(u64),
}

impl Queue {
    fn offer(&self, lines: &Bytes, missed: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.miss(missed);
        if waiting.bytes + lines.len() > WAITING {
            waiting.miss(count(lines));
        } else if !lines.is_empty() {
            waiting.bytes += lines.len();
            waiting.news.push_back(News::Lines(lines.clone()));
        }
        drop(waiting);
        self.came.notify_one();
    }
}

impl Waiting {
    fn miss(&mut self, lines: u64) {
        match self.news.back_mut() {
            _ if lines == 0 => {}
            Some(News::Missed(before)) => *before += lines,
            Some(News::Lines(_)) | None => self.news.push_back(News::Missed(lines)),
        }
    }
}

/// One reader's place. Nothing is kept for it once it is dropped.
#[derive(Debug)]
pub struct Feed(Arc<Queue>);

impl Feed {
    /// What comes next; waits for it. May be dropped and called again: nothing is lost by that.
    pub async fn next(&mut self) -> News {
        loop {
            let came = self.0.came.notified();
            if let Some(news) = self.take() {
                return news;
            }
            came.await;
        }
    }

    fn take(&self) -> Option<News> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let news = waiting.news.pop_front()?;
        match &news {
            News::Lines(lines) => waiting.bytes -= lines.len(),
            News::Missed(_) => {}
        }
        Some(news)
    }
}

/// The lines of a piece of news.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).filter_map(|line| str::from_utf8(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64, outcome: &str) -> String {
        format!("{{\"time\":\"t\",\"kind\":\"decision\",\"id\":\"{id:016x}\",\"door\":\"proxy\",\"outcome\":\"{outcome}\",\"reason\":\"r\"}}\n")
    }

    fn lines_of(range: std::ops::Range<u64>, outcome: &str) -> Bytes {
        range.map(|id| line(id, outcome)).collect::<String>().into()
    }

    fn ids(lines: &[Line]) -> Vec<u64> {
        lines.iter().map(|line| u64::from_str_radix(&line.id, 16).unwrap()).collect()
    }

    fn only(outcome: &str) -> Filter {
        Filter { outcome: Some(outcome.into()), ..Filter::default() }
    }

    #[test]
    fn the_last_thousand_lines_are_kept_and_denials_outlast_allows() {
        let recent = Recent::default();
        recent.add(&lines_of(0..10, "deny"), 0);
        recent.add(&lines_of(10..12, "shadow"), 0);
        recent.add(&lines_of(12..5000, "allow"), 0);
        recent.add(&lines_of(5000..5001, "allow"), 0);
        let all = ids(&recent.last(usize::MAX, &Filter::default()));
        assert_eq!(all, (0..12).chain(4001..5001).collect::<Vec<_>>());
        assert_eq!(ids(&recent.last(3, &Filter::default())), [4998, 4999, 5000]);
        assert_eq!(ids(&recent.last(3, &only("deny"))), [7, 8, 9]);
        assert_eq!(ids(&recent.last(9, &only("shadow"))), [10, 11]);
        assert_eq!(recent.find(&format!("{:016x}", 3)).map(|line| line.outcome).as_deref(), Some("deny"));
        assert_eq!(recent.find(&format!("{:016x}", 400)), None);
        recent.add(&lines_of(6000..9000, "deny"), 0);
        assert_eq!(ids(&recent.last(usize::MAX, &Filter::default())), (8000..9000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_is_lost_between_the_last_lines_and_those_that_follow() {
        let recent = Recent::default();
        recent.add(&lines_of(0..5, "allow"), 0);
        let (last, mut feed) = recent.follow(2, &Filter::default());
        recent.add(&lines_of(5..7, "allow"), 0);
        assert_eq!(ids(&last), [3, 4]);
        assert_eq!(feed.next().await, News::Lines(lines_of(5..7, "allow")));
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_lines_it_missed_and_where() {
        let recent = Recent::default();
        let mut feed = recent.subscribe();
        let chunk = lines_of(0..1000, "allow");
        let rounds = 2 * WAITING / chunk.len();
        for _ in 0..rounds {
            recent.add(&chunk, 0);
        }
        let mut seen = 0;
        let missed = loop {
            match feed.next().await {
                News::Lines(lines) => seen += count(&lines),
                News::Missed(missed) => break missed,
            }
        };
        assert!(seen > 0 && missed > 0, "{seen} {missed}");
        assert_eq!(seen + missed, rounds as u64 * 1000);
        recent.add(&lines_of(0..1, "allow"), 7);
        assert_eq!(feed.next().await, News::Missed(7), "lines that nobody saw are told of, too");
        assert_eq!(feed.next().await, News::Lines(lines_of(0..1, "allow")));
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_went_away() {
        let recent = Recent::default();
        let queue = Arc::downgrade(&recent.subscribe().0);
        recent.add(&lines_of(0..1, "allow"), 0);
        assert!(queue.upgrade().is_none());
        assert!(recent.lock().feeds.is_empty());
    }
}
