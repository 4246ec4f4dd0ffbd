//! Peak memory of the process.

/// Peak resident memory so far, in bytes; `None` where the system does not report it. Linux does.
pub fn peak_bytes() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Parses `VmHWM:     12345 kB` from a process's status into bytes.
fn high_water_mark(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_in_its_unit() {
        let status = "Name:\tattnlab\nVmPeak:\t  900000 kB\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(high_water_mark(status), Some(12_345 * 1024));
        assert_eq!(high_water_mark("Name:\tattnlab\n"), None);
        assert_eq!(high_water_mark("VmHWM:\tmuch\n"), None);
    }
}
