//! What holds for any bytes that reach a parser, one module a target; `tests/fuzz/run SECONDS` looks for bytes that break it.
//! Without the fuzzer each target is a program that replays the files named as its arguments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod admission;
pub mod bearer;
pub mod check_request;
pub mod configuration;
pub mod framing;
pub mod host;
pub mod json_rpc;
pub mod path;
pub mod patterns;
pub mod proxy_header;
pub mod token;
pub mod token_file;

/// Tries the files that are named on the command line.
pub fn replay(hold: impl Fn(&[u8])) -> std::io::Result<()> {
    for file in std::env::args_os().skip(1) {
        hold(&std::fs::read(&file)?);
        println!("{} holds", file.display());
    }
    Ok(())
}

/// Whether `part` stands anywhere in `whole`, and how often.
fn count(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len().max(1)).filter(|window| *window == part).count()
}

#[cfg(test)]
mod tests {
    type Target = (&'static str, fn(&[u8]));

    #[test]
    fn every_seed_holds() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        let targets: [Target; 12] = [
            ("admission", super::admission::hold),
            ("bearer", super::bearer::hold),
            ("check_request", super::check_request::hold),
            ("configuration", super::configuration::hold),
            ("framing", super::framing::hold),
            ("host", super::host::hold),
            ("json_rpc", super::json_rpc::hold),
            ("path", super::path::hold),
            ("patterns", super::patterns::hold),
            ("proxy_header", super::proxy_header::hold),
            ("token", super::token::hold),
            ("token_file", super::token_file::hold),
        ];
        for (name, hold) in targets {
            let files: Vec<_> = std::fs::read_dir(seeds.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(!files.is_empty(), "{name}");
            files.iter().for_each(|file| hold(&std::fs::read(file).unwrap()));
        }
    }
}
