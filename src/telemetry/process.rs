//! What the system says of this process, under the names that Prometheus' own libraries use.
//! Says nothing where the system does not (no `/proc`), and guesses nothing.

use std::fs;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::instrument::{Kind, Metric, Point, Unit, Value};

/// `USER_HZ`, which Linux promises to programs whatever its own clock is (time(7)).
const TICKS: f64 = 100.0;

static STARTED: OnceLock<SystemTime> = OnceLock::new();

pub fn collect() -> [Metric; 4] {
    let real = |value: Option<f64>| value.map_or_else(Vec::new, |value| Point::only(Value::Real(value)));
    let whole = |value: Option<u64>| value.map_or_else(Vec::new, |value| Point::only(Value::Whole(value)));
    let started = STARTED.get_or_init(started).duration_since(SystemTime::UNIX_EPOCH).ok();
    [
        Metric::new(("process_cpu", Unit::Seconds), Kind::Counter, "Time that all threads have computed", real(cpu())),
        Metric::new(("process_resident_memory", Unit::Bytes), Kind::Gauge, "Memory that is resident", whole(resident())),
        Metric::new(("process_open_fds", Unit::None), Kind::Gauge, "File descriptors that are open", whole(descriptors())),
        Metric::new(
            ("process_start_time", Unit::Seconds),
            Kind::Gauge,
            "Time since 1970 at which it started",
            real(started.map(|at| at.as_secs_f64())),
        ),
    ]
}

/// `/proc/self` is made with the process.
fn started() -> SystemTime {
    fs::metadata("/proc/self").and_then(|made| made.modified()).unwrap_or_else(|_| SystemTime::now())
}

/// `utime` and `stime` of proc(5); the second field, a name in parentheses, may hold anything.
fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS)
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let said = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(said.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The length of that folder, since Linux 6.2; before, its entries but for the one that reads them.
fn descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_all_of_it() {
        let told = |name| collect().into_iter().find(|metric| metric.name == name).unwrap().points.pop().unwrap().value;
        assert!(matches!(told("process_cpu"), Value::Real(seconds) if seconds >= 0.0));
        assert!(matches!(told("process_resident_memory"), Value::Whole(bytes) if bytes > 1 << 20));
        assert!(matches!(told("process_open_fds"), Value::Whole(count) if count > 2));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(matches!(told("process_start_time"), Value::Real(at) if at <= now && at > now - 3600.0));
    }
}
