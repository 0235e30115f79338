//! What a program and all processes below it hold and have used, from `/proc`, which is the current directory here: the root is the
//! program's own by then.

use std::collections::HashMap;
use std::fs;

/// What a program takes, all its processes together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Memory that is of no file, in bytes; what two processes share since a fork counts for both.
    pub bytes: u64,
    /// Seconds of the processor, of ended processes too that were waited for.
    pub cpu_secs: f64,
}

/// Times in `/proc` are in hundredths, whatever the kernel counts in.
const TICKS: f64 = 100.0;

/// What process `pid` and those below it take.
///
/// # Errors
/// They cannot be seen.
pub fn used(pid: u32) -> Result<Used, String> {
    let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut times = HashMap::new();
    let listed = fs::read_dir(".").map_err(|error| format!("/proc: {error}"))?;
    let names = listed
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    for process in names.filter_map(|name| name.parse::<u32>().ok()) {
        // It may have ended since.
        let stat = fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
        if let Some((parent, ticks)) = of_stat(&stat) {
            below.entry(parent).or_default().push(process);
            times.insert(process, ticks);
        }
    }
    if !times.contains_key(&pid) {
        return Err("the program's memory cannot be seen in /proc".to_owned());
    }
    let (mut open, mut all) = (vec![pid], Used::default());
    while let Some(process) = open.pop() {
        open.extend(below.remove(&process).unwrap_or_default());
        all.cpu_secs += times.get(&process).copied().unwrap_or_default() / TICKS;
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        all.bytes += own_bytes(&status);
    }
    Ok(all)
}

/// The parent in a process's `stat`, and the ticks of it and of its children that were waited for. Its name may hold anything.
fn of_stat(stat: &str) -> Option<(u32, f64)> {
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = fields
        .get(11..15)?
        .iter()
        .filter_map(|ticks| ticks.parse::<f64>().ok());
    Some((fields.get(1)?.parse().ok()?, ticks.sum()))
}

/// Memory in a process's `status` that is of no file.
fn own_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processes_change_nothing() {
        let stat = "12 (a) b (c)) S 7 12 12 0 -1 4194560 100 0 0 0 10 5 3 2 20 0 1 0";
        assert_eq!(of_stat(stat), Some((7, 20.0)));
        assert_eq!(of_stat("12 (a"), None);
        assert_eq!(own_bytes("VmRSS:\t 9 kB\nRssAnon:\t     300 kB\n"), 300 << 10);
        assert_eq!(own_bytes(""), 0);
    }
}
