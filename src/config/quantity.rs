//! Texts such as `2s`, `64KiB` and `127.0.0.0/8` into quantities.
//! A number without a unit is refused where the unit matters.

use std::time::Duration;

use super::tree::Node;

/// What a checked node says, or the default.
pub fn said(node: Option<&Node>, default: Duration) -> Duration {
    node.and_then(Node::text).and_then(duration).unwrap_or(default)
}

/// `500ms`, `2s`, `5m`, `1h`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(scale)?))
}

/// `512B`, `64KiB`, `1MiB`; decimal `KB` and `MB` too.
pub fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "B" => 1,
        "KB" => 1000,
        "KiB" => 1024,
        "MB" => 1_000_000,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    usize::try_from(number.checked_mul(scale)?).ok()
}

fn split(text: &str) -> Option<(u64, &str)> {
    let (number, unit) = text.split_at_checked(text.find(|character: char| !character.is_ascii_digit())?)?;
    Some((number.parse().ok()?, unit))
}
