//! The text of a configuration, its notes and its secrets into files, or every fault at once.
//! Overwrites nothing, leaves nothing half-made behind, and never writes a secret into the configuration or to a terminal.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Target, yaml};

/// An import in the making.
pub struct Draft<'a> {
    /// The system that the configuration comes from, as its secrets' files are named.
    system: &'static str,
    source: &'a Path,
    target: &'a Target,
    notes: Vec<String>,
    faults: Vec<String>,
    secrets: Vec<(PathBuf, Zeroizing<String>)>,
}

impl<'a> Draft<'a> {
    pub fn new(system: &'static str, source: &'a Path, target: &'a Target) -> Self {
        Self { system, source, target, notes: Vec::new(), faults: Vec::new(), secrets: Vec::new() }
    }

    /// What the operator should know; it stands at the top of the file too.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// What makes the import impossible.
    pub fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// A reference to a file that will hold the literal secret which `place` names; a fault where no file is written.
    pub fn keep(&mut self, key: &str, place: &str, secret: &str) -> String {
        let name = format!("{}-{}.secret", self.system, self.secrets.len() + 1);
        match &self.target.output {
            Some(output) => self.secrets.push((output.with_file_name(&name), Zeroizing::new(format!("{secret}\n")))),
            None => self.fault(format!(
                "`{place}` is a literal secret, which does not belong on a terminal; write `${{NAME}}` in its place and set the variable, \
                 or give --output FILE, beside which it is put into a file of its own"
            )),
        }
        format!("{key}_file: {}", yaml::text(&name))
    }

    /// A path that the source names beside itself, as the configuration is to name it.
    pub fn path(&self, path: &Path) -> String {
        let folder = |file: &Path| std::path::absolute(file).ok().and_then(|file| file.parent().map(Path::to_owned));
        let here = folder(self.target.output.as_deref().unwrap_or(Path::new("scopegate.yaml")));
        let path = self.source.with_file_name("").join(path);
        let path = std::path::absolute(&path).unwrap_or(path);
        here.and_then(|here| path.strip_prefix(here).map(Path::to_owned).ok()).unwrap_or(path).display().to_string()
    }

    /// Writes all of it, and says on standard error what was noted.
    pub fn finish(self, title: &str, body: &str) -> Result<bool, String> {
        if !self.faults.is_empty() {
            let source = self.source.display();
            return Err(self.faults.iter().map(|fault| format!("{} ({source})", yaml::line(fault))).collect::<Vec<_>>().join("\n"));
        }
        let mut text = format!("{}\n", yaml::comment(&format!("{title}, imported from {}.", self.source.display())));
        for note in &self.notes {
            text.push_str(&format!("{}\n", yaml::comment(&format!("- {note}"))));
        }
        text.push_str(body);
        if let Some(output) = &self.target.output {
            write_all(output, &text, &self.secrets)?;
        }
        for note in &self.notes {
            eprintln!("note: {}", yaml::line(note));
        }
        match &self.target.output {
            None => print!("{text}"),
            Some(output) => {
                for (path, _) in &self.secrets {
                    eprintln!("wrote {}, which only its owner can read", path.display());
                }
                eprintln!("wrote {}; now run `scopegate check --config {}`", output.display(), output.display());
            }
        }
        Ok(true)
    }
}

fn write_all(output: &Path, text: &str, secrets: &[(PathBuf, Zeroizing<String>)]) -> Result<(), String> {
    let files = secrets.iter().map(|(path, secret)| (path.as_path(), secret.as_str(), 0o600)).chain([(output, text, 0o644)]);
    let mut made: Vec<&Path> = Vec::new();
    for (path, text, mode) in files {
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let is_new = opened.is_ok();
        if is_new {
            made.push(path);
        }
        if let Err(error) = opened.and_then(|mut file| file.write_all(text.as_bytes())) {
            made.iter().for_each(|path| drop(std::fs::remove_file(path)));
            let path = path.display();
            return Err(if error.kind() == std::io::ErrorKind::AlreadyExists {
                format!("{path} exists already and is left as it is; remove it first, or choose another --output")
            } else {
                format!("{path} cannot be written: {error}")
            });
        }
    }
    Ok(())
}
