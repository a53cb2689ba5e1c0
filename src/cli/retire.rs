//! `scopegate retire`: SIGUSR1 to the gate of this container, which then sends its clients away and serves on until SIGTERM.
//! Knows a gate by its program and its file system, never by its name alone, and sends to no more than one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

const MOMENT: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct Retire {
    /// The process, where more than one gate runs here
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

impl Retire {
    pub fn run(self) -> Result<bool, String> {
        let processes = Path::new("/proc");
        let number = match self.pid {
            Some(number) => number,
            None => one(gates(processes, std::process::id()))?,
        };
        // One that has just been started takes it in a moment; whoever does not would be ended by it.
        let mut moments = 0..20;
        while !takes(processes, number) {
            moments.next().ok_or_else(|| format!("process {number} does not take SIGUSR1; it is no `scopegate serve`"))?;
            std::thread::sleep(MOMENT);
        }
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or("`--pid` is the number of a process")?;
        kill_process(pid, Signal::USR1).map_err(|error| format!("process {number} cannot be told: {error}"))?;
        println!("retired");
        Ok(true)
    }
}

/// Whether it has a handler for SIGUSR1.
fn takes(processes: &Path, number: u32) -> bool {
    const USR1: u64 = 1 << 9;
    let status = fs::read_to_string(processes.join(number.to_string()).join("status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    caught.is_some_and(|caught| caught & USR1 != 0)
}

fn one(gates: Vec<u32>) -> Result<u32, String> {
    match gates[..] {
        [number] => Ok(number),
        [] => Err("no `scopegate serve` runs in this container".into()),
        _ => {
            let numbers: Vec<String> = gates.iter().map(u32::to_string).collect();
            Err(format!("more than one `scopegate serve` runs here; say which by `--pid`: {}", numbers.join(", ")))
        }
    }
}

/// Processes of this very program that serve and see the file system that this one sees. Those of other users cannot be looked at, nor told.
fn gates(processes: &Path, own: u32) -> Vec<u32> {
    let looked = |number: u32, link: &str| fs::read_link(processes.join(number.to_string()).join(link)).ok();
    let seen = |number: u32| -> Option<(PathBuf, PathBuf)> { Some((looked(number, "exe")?, looked(number, "ns/mnt")?)) };
    let Some(this) = seen(own) else { return Vec::new() };
    let serves = |number: u32| {
        let arguments = fs::read(processes.join(number.to_string()).join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).nth(1) == Some(b"serve")
    };
    let numbers = fs::read_dir(processes).into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut gates: Vec<u32> = numbers.filter(|number| seen(*number).is_some_and(|known| known == this) && serves(*number)).collect();
    gates.sort_unstable();
    gates
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_gate_is_the_one_of_this_container() {
        let processes = tempfile::tempdir().unwrap();
        for (number, program, space, arguments) in [
            ("1", "scopegate", "mnt:[1]", "scopegate\0serve\0--config\0x\0"),
            ("7", "scopegate", "mnt:[1]", "scopegate\0retire\0"),
            ("8", "scopegate", "mnt:[1]", "scopegate\0explain\0serve\0"),
            ("9", "scopegate", "mnt:[2]", "scopegate\0serve\0"),
            ("10", "other", "mnt:[1]", "scopegate\0serve\0"),
            ("self", "scopegate", "mnt:[1]", "scopegate\0serve\0"),
        ] {
            let folder = processes.path().join(number);
            fs::create_dir_all(folder.join("ns")).unwrap();
            symlink(program, folder.join("exe")).unwrap();
            symlink(space, folder.join("ns/mnt")).unwrap();
            fs::write(folder.join("cmdline"), arguments).unwrap();
        }
        assert_eq!(gates(processes.path(), 7), [1]);
        assert_eq!(gates(processes.path(), 9), [9]);
        assert_eq!(gates(processes.path(), 11), [0; 0], "who is not there sees nobody");
    }

    #[test]
    fn whoever_would_be_ended_is_not_told() {
        let processes = tempfile::tempdir().unwrap();
        for (number, status, is_told) in [
            ("1", "Name:\tscopegate\nSigCgt:\t0000000100004a07\n", true),
            ("2", "Name:\tscopegate\nSigCgt:\t0000000100004c07\n", false),
            ("3", "Name:\tscopegate\nSigIgn:\tffffffffffffffff\n", false),
        ] {
            fs::create_dir(processes.path().join(number)).unwrap();
            fs::write(processes.path().join(number).join("status"), status).unwrap();
            assert_eq!(takes(processes.path(), number.parse().unwrap()), is_told, "{status}");
        }
        assert!(!takes(processes.path(), 4));
    }

    #[test]
    fn none_and_several_are_told() {
        assert_eq!(one(vec![4]), Ok(4));
        assert!(one(Vec::new()).unwrap_err().contains("no `scopegate serve`"));
        assert!(one(vec![4, 5]).unwrap_err().ends_with("by `--pid`: 4, 5"));
    }
}
