//! Token files and configurations of any size, the same on every run.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// 73 bytes: a prefix of nine and 256 bits in hexadecimal, as `scopegate token new` makes them.
pub fn token(number: usize) -> String {
    let mut text = String::from("sgt_prod_");
    let mut state = number as u64;
    for _ in 0..4 {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        write!(text, "{:016x}", mixed ^ (mixed >> 31)).unwrap();
    }
    text
}

pub fn id(number: usize) -> String {
    format!("agent-{number:07}")
}

/// Every token may do everything that the routes ask for.
pub fn tokens(folder: &Path, count: usize) -> PathBuf {
    let mut text = String::from("[");
    for number in 0..count {
        let separator = if number == 0 { "" } else { ",\n" };
        write!(text, r#"{separator}{{"id":"{}","token":"{}","scopes":["orders:read","orders:write"]}}"#, id(number), token(number)).unwrap();
    }
    text.push(']');
    let path = folder.join(format!("tokens-{count}.json"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// The path that route `number` speaks of.
pub fn target(number: usize) -> String {
    format!("/service-{}/orders/{number}/items-{}", number % 100, number % 7)
}

/// `more` are further lines of the file, `listen` and `upstream` among them.
pub fn configuration(tokens: &Path, routes: usize, more: &str) -> String {
    let mut text = format!("{more}\ncredentials: {{tokens: {{kind: static, file: {}, max_size: 1024MiB}}}}\nroutes:\n", tokens.display());
    for number in 0..routes {
        writeln!(text, "  GET /service-{}/orders/{}/{{item}}: orders:read", number % 100, number).unwrap();
    }
    text
}
