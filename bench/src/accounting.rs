//! Processor time and memory of the server's processes, from `/proc`.

use std::fs::read_to_string;

/// Ticks per second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux that Rust runs on.
const TICKS_PER_SEC: f64 = 100.0;

/// User and system time used so far by all of them, in seconds; 0 for those that have ended.
pub fn cpu_secs(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|pid| ticks(&read_to_string(format!("/proc/{pid}/stat")).ok()?)).fold(0.0, std::ops::Add::add) / TICKS_PER_SEC
}

/// Resident memory now, of all of them, in MB (2^20 bytes).
pub fn resident_mb(pids: &[u32]) -> f64 {
    memory_mb(pids, "VmRSS:")
}

/// The most resident memory each ever had, added, in MB (2^20 bytes).
pub fn peak_mb(pids: &[u32]) -> f64 {
    memory_mb(pids, "VmHWM:")
}

/// Lets the peak begin anew from what is resident now. Where that is refused the peak stays that of the whole life, which is no less.
pub fn forget_peak(pids: &[u32]) {
    for pid in pids {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
    }
}

/// `utime` and `stime`, which stand 12 and 13 places after the parenthesised name (which may hold spaces).
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn memory_mb(pids: &[u32], key: &str) -> f64 {
    pids.iter()
        .filter_map(|pid| {
            let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find(|line| line.starts_with(key))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        })
        .fold(0.0, std::ops::Add::add)
        / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_does_not_shift_the_fields() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(ticks(stat), Some(200.0));
        assert_eq!(ticks("gone"), None);
    }

    #[test]
    fn reads_this_process() {
        let pids = [std::process::id()];
        let resident = resident_mb(&pids);
        assert!(resident > 1.0 && peak_mb(&pids) >= resident);
    }
}
