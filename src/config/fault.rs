//! What is wrong with a file, where, and what would be right. One line each, all of them at once.
//! Quotes the operator's own text; a value that came from a variable or a token is never quoted.

use std::fmt;
use std::path::Path;

use super::tree::Node;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub file: String,
    /// From 1; `None` where the fault is the file's as a whole.
    pub place: Option<(u64, u64)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(out, "{} ({}:{line}:{column})", self.message, self.file),
            None => write!(out, "{} ({})", self.message, self.file),
        }
    }
}

/// Collects faults while reading goes on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    file: String,
    list: Vec<Fault>,
}

impl Faults {
    pub fn of(file: &Path) -> Self {
        Self { file: file.display().to_string(), list: Vec::new() }
    }

    pub fn at(&mut self, node: &Node, message: impl Into<String>) {
        self.add(message.into(), Some(node.place));
    }

    pub fn at_place(&mut self, place: (u64, u64), message: impl Into<String>) {
        self.add(message.into(), Some(place));
    }

    pub fn whole(&mut self, message: impl Into<String>) {
        self.add(message.into(), None);
    }

    /// A fault is one line, whatever the operator's text that it quotes.
    fn add(&mut self, mut message: String, place: Option<(u64, u64)>) {
        if message.contains(char::is_control) {
            message = message.chars().fold(String::new(), |mut line, letter| {
                if letter.is_control() {
                    line.extend(letter.escape_debug());
                } else {
                    line.push(letter);
                }
                line
            });
        }
        self.list.push(Fault { message, file: self.file.clone(), place });
    }

    pub fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// `Ok` where nothing was found.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{fault}")?;
        }
        Ok(())
    }
}
