//! What a listing is asked for, and where it goes on: a cursor names the last entry of the page before.
//! A cursor widens nothing: what is listed is within the reach of whoever shows it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use utoipa::IntoParams;

use super::body::{At, Object, digits};
use super::names::{self, Word};

/// The most entries of a page, and how many there are where nobody says.
const MOST: u64 = 1000;
const USUAL: u64 = 100;
/// Longest cursor; it names two names.
const MAX_CURSOR: usize = 1024;

/// A page to be listed.
#[derive(Clone, Debug)]
pub struct Page {
    /// The words of the last entry before it; none at the beginning.
    pub after: Vec<String>,
    pub limit: usize,
}

/// How the document tells of `cursor` and `limit`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description alone")]
pub struct PageParams {
    /// `next_cursor` of the page before
    #[param(min_length = 1, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// How the document tells of whose rows are meant.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a description alone")]
pub struct TenantParam {
    /// Another than the caller's own is for callers that reach all
    #[param(value_type = Option<Word>)]
    tenant: Option<String>,
}

impl Page {
    /// Out of the parameters `cursor` and `limit`; a cursor is of so many words.
    pub fn read(object: &mut Object<'_>, words: usize) -> Option<Self> {
        let limit = object.optional("limit", digits(1..=MOST));
        let after = object.optional("cursor", move |value, at: &mut At<'_>| {
            let words = value.as_str().and_then(|text| decode(text, words));
            if words.is_none() {
                at.fault("is no cursor; take `next_cursor` of the page before");
            }
            words
        });
        Some(Self { after: after?.unwrap_or_default(), limit: usize::try_from(limit?.unwrap_or(USUAL)).ok()? })
    }

    /// One more than the page, to see whether there is another.
    pub fn rows(&self) -> i64 {
        i64::try_from(self.limit).map_or(i64::MAX, |limit| limit.saturating_add(1))
    }

    /// The word at a place of the cursor; nothing comes before the first page.
    pub fn word(&self, index: usize) -> &str {
        self.after.get(index).map_or("", String::as_str)
    }

    /// Cuts a list of [`Self::rows`] down to the page, and gives the cursor of the next.
    pub fn cut<T>(&self, list: &mut Vec<T>, words: impl Fn(&T) -> String) -> Option<String> {
        if list.len() <= self.limit {
            return None;
        }
        list.truncate(self.limit);
        list.last().map(|last| URL_SAFE_NO_PAD.encode(words(last)))
    }
}

fn decode(text: &str, count: usize) -> Option<Vec<String>> {
    let bytes = Some(text).filter(|text| text.len() <= MAX_CURSOR).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())?;
    let words: Vec<String> = String::from_utf8(bytes).ok()?.split(' ').map(str::to_owned).collect();
    (words.len() == count && words.iter().all(|word| names::word(word).is_ok())).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_on_behind_the_last_entry_of_its_page() {
        let page = Page { after: Vec::new(), limit: 2 };
        let mut list = vec![("a", "x"), ("b", "y"), ("c", "z")];
        assert_eq!(page.rows(), 3);
        let cursor = page.cut(&mut list, |(first, second)| format!("{first} {second}")).unwrap();
        assert_eq!((list.len(), decode(&cursor, 2).unwrap()), (2, vec!["b".to_owned(), "y".to_owned()]));
        assert_eq!(page.cut(&mut list, |(first, _)| (*first).to_owned()), None);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for bad in ["", "!", "YQ==", &encoded("a b"), &encoded("a\0"), &encoded("a\n"), &encoded(&"a".repeat(300)), &"A".repeat(2000)] {
            assert_eq!(decode(bad, 1), None, "{bad}");
        }
        assert_eq!(decode(&encoded("a"), 2), None);
    }
}
