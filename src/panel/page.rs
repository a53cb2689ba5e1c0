//! The frame of every page: navigation, what is wrong now, who looks; and the pieces that pages are made of.
//! Shows what it is given, escaped; no page has an inline script or style.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::Desk;
use super::assets::{HTMX, ICON, PANEL, STYLE};

/// The pages that the navigation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    Overview,
    Decisions,
    Shadow,
    Reloads,
    Routes,
    Principals,
    Explain,
    KeySets,
    Keys,
    Roles,
    Assignments,
    Profiles,
    Revocations,
    Factor,
    SignIn,
    Nowhere,
}

/// A page, its path and what it is called.
type Entry = (Here, &'static str, &'static str);

const GROUPS: [(&str, &[Entry]); 3] = [
    (
        "Watch",
        &[
            (Here::Overview, "/panel", "Overview"),
            (Here::Decisions, "/panel/decisions", "Decisions"),
            (Here::Shadow, "/panel/shadow", "Shadow"),
            (Here::Reloads, "/panel/reloads", "Reloads"),
        ],
    ),
    (
        "Policy",
        &[
            (Here::Routes, "/panel/routes", "Routes"),
            (Here::Principals, "/panel/principals", "Principals"),
            (Here::Explain, "/panel/explain", "Explain"),
            (Here::KeySets, "/panel/key-sets", "Key sets"),
        ],
    ),
    (
        "Manage",
        &[
            (Here::Keys, "/panel/keys", "Keys"),
            (Here::Roles, "/panel/roles", "Roles"),
            (Here::Assignments, "/panel/assignments", "Assignments"),
            (Here::Profiles, "/panel/profiles", "Profiles"),
            (Here::Revocations, "/panel/revocations", "Revoke"),
            (Here::Factor, "/panel/factor", "Second factor"),
        ],
    ),
];

/// Neither code nor styles out of an attribute, no pages kept by the script, nothing from elsewhere.
const HTMX_CONFIG: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"historyCacheSize":0,"refreshOnHistoryMiss":true,"selfRequestsOnly":true}"#;

pub fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="color-scheme" content="light dark";
        meta name="htmx-config" content=(HTMX_CONFIG);
        title { (title) " · Scopegate" }
        link rel="icon" type="image/svg+xml" href=(ICON.url());
        link rel="stylesheet" href=(STYLE.url());
        script src=(HTMX.url()) defer {}
        script src=(PANEL.url()) defer {}
    }
}

impl Desk {
    pub fn page(&self, here: Here, title: &str, body: &Markup) -> Response {
        self.page_with(StatusCode::OK, here, title, body)
    }

    pub fn page_with(&self, status: StatusCode, here: Here, title: &str, body: &Markup) -> Response {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head { (head(title)) }
                body {
                    a.skip href="#main" { "Skip to content" }
                    (self.side(here))
                    main id="main" tabindex="-1" {
                        (self.alarm(here))
                        h1 { (title) }
                        (body)
                    }
                }
            }
        };
        (status, page).into_response()
    }

    /// There is nothing of that name.
    pub fn missing(&self, message: &str) -> Response {
        self.page_with(StatusCode::NOT_FOUND, Here::Nowhere, "Not there", &html! { p { (message) } })
    }

    fn side(&self, here: Here) -> Markup {
        html! {
            header.side {
                a.brand href="/panel" { img src=(ICON.url()) alt="" width="22" height="22"; " Scopegate" }
                nav aria-label="Pages" {
                    @for (group, pages) in GROUPS {
                        div.group {
                            p { (group) }
                            ul {
                                @for (page, path, label) in pages {
                                    li { a href=(path) aria-current=[(*page == here).then_some("page")] { (label) } }
                                }
                            }
                        }
                    }
                }
                div.who {
                    @if let Some(signed) = self.visitor.signed_in() {
                        p {
                            span.dim { "Signed in as " } strong { (signed.name.id) }
                            span.dim.more { " of " (signed.name.credential) @if let Some(tenant) = &signed.name.tenant { ", tenant " (tenant) } }
                        }
                        form method="post" action="/panel/sign-out" { button.quiet type="submit" { "Sign out" } }
                    } @else {
                        p.dim { "On this machine, without a name" }
                        a href="/panel/sign-in" aria-current=[(here == Here::SignIn).then_some("page")] { "Sign in" }
                    }
                }
            }
        }
    }

    /// What an operator has to know on whatever page.
    fn alarm(&self, here: Here) -> Markup {
        let status = self.panel.admin.gate.live.status();
        let failed = status.last_reload_fault.is_some() && !matches!(here, Here::Overview | Here::Reloads);
        html! {
            @if failed {
                p.alarm role="status" { strong { "The last reload failed." } " Generation " (status.generation) " goes on. " a href="/panel/reloads" { "What is wrong" } }
            }
            @if status.draining {
                p.alarm role="status" { strong { "This process is about to stop." } " It takes no new work." }
            }
        }
    }
}

/// A word with a mark, so that no meaning is in its colour alone.
pub fn badge(kind: &str, text: &str) -> Markup {
    let mark = match kind {
        "good" => "✓",
        "bad" => "✕",
        "warn" => "!",
        _ => "·",
    };
    html! { span.badge.(kind) { span.mark aria-hidden="true" { (mark) } " " (text) } }
}

/// Scopes, roles and other names, one box each.
pub fn chips<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Markup {
    let names: Vec<T> = names.into_iter().collect();
    html! {
        @if names.is_empty() { span.dim { "none" } } @else {
            span.chips { @for name in &names { code.chip { (name.as_ref()) } " " } }
        }
    }
}

/// What went wrong, in its own words.
pub fn failure(message: &str, faults: &[String]) -> Markup {
    html! {
        div.box.bad role="alert" {
            p { strong { (message) } }
            @if !faults.is_empty() { ul { @for fault in faults { li { (fault) } } } }
        }
    }
}

pub fn done(message: &str) -> Markup {
    html! { p.box.good role="status" { (message) } }
}

/// How long ago, or in how long.
pub fn since(second: i64, now: i64) -> String {
    let distance = now.saturating_sub(second);
    let text = span(distance.unsigned_abs());
    if distance >= 0 { format!("{text} ago") } else { format!("in {text}") }
}

/// So many seconds in the largest unit that tells something.
pub fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit}")
}

/// An instant as the API writes it, with how long ago that is.
pub fn instant(text: &str, now: i64) -> Markup {
    let second = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
    html! {
        @match second {
            Ok(second) => time datetime=(text) title=(text) { (since(second, now)) },
            Err(_) => (text),
        }
    }
}

/// Whole numbers with thin spaces, as people read them.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_written_for_people() {
        assert_eq!((since(100, 130), since(130, 100)), ("30 s ago".to_owned(), "in 30 s".to_owned()));
        assert_eq!((span(59), span(3599), span(7200), span(900_000)), ("59 s".into(), "59 min".into(), "2 h".into(), "10 d".into()));
        assert_eq!((count(7), count(1234), count(1_000_000)), ("7".into(), "1\u{202f}234".into(), "1\u{202f}000\u{202f}000".into()));
    }

    #[test]
    fn nothing_that_is_shown_is_read_as_a_tag() {
        let name = "<script>alert(1)</script>\"'&";
        for shown in [badge("good", name), chips([name]), failure(name, &[name.into()]), done(name), instant(name, 0)] {
            assert!(!shown.0.contains("<script") && shown.0.contains("&lt;script&gt;"), "{}", shown.0);
        }
    }
}
