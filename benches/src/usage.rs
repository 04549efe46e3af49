//! What processes have used, from `/proc`.

use std::time::Duration;

use anyhow::Context as _;

/// The unit of times in `/proc/PID/stat`: USER_HZ is 100 on every Linux architecture Quintet ships for.
const TICK: Duration = Duration::from_millis(10);

/// Processor time, which the kernel accounts exactly and divides by sampling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Cpu {
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// A process and all its descendants: nginx works in a child of its master.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let mut family = vec![root];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        next += 1;
        family.extend(children(pid));
    }
    family
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Processor time of these processes since they began.
pub(crate) fn cpu(pids: &[u32]) -> anyhow::Result<Cpu> {
    let mut sum = Cpu::default();
    for pid in pids {
        let stat =
            std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a measured process ended")?;
        let one = parse_stat(&stat).with_context(|| format!("/proc/{pid}/stat is in no known form"))?;
        sum.user += one.user;
        sum.system += one.system;
    }
    Ok(sum)
}

/// Processor time of all that runs on the machine, since it started.
pub(crate) fn machine() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    parse_machine(&stat).context("/proc/stat is in no known form")
}

fn parse_machine(stat: &str) -> Option<Duration> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // The fourth and fifth are idle and waiting for the disk; those of guests from the ninth on are in user's already.
    let busy = fields.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    busy.map(|(_, field)| field.parse::<u32>().ok().map(|ticks| TICK * ticks)).sum()
}

/// Processor time of a server: its processes' and that of the children it has waited for.
pub(crate) fn with_reaped(root: u32) -> anyhow::Result<Cpu> {
    let mut sum = Cpu::default();
    for pid in family(root) {
        // A session may end at any moment; what it used is then in its parent's account.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let own = parse_stat(&stat).with_context(|| format!("/proc/{pid}/stat is in no known form"))?;
        let reaped = parse_reaped(&stat).with_context(|| format!("/proc/{pid}/stat is in no known form"))?;
        sum.user += own.user + reaped.user;
        sum.system += own.system + reaped.system;
    }
    Ok(sum)
}

fn parse_stat(stat: &str) -> Option<Cpu> {
    times(stat, 11)
}

fn parse_reaped(stat: &str) -> Option<Cpu> {
    times(stat, 13)
}

fn times(stat: &str, skipped: usize) -> Option<Cpu> {
    // The second field is the name in parentheses, which may hold spaces; utime and stime are 14 and 15,
    // those of children that were waited for 16 and 17.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(skipped);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(Cpu { user: TICK * ticks()?, system: TICK * ticks()? })
}

/// Memory of these processes in bytes: resident, and proportional, in which a shared page counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
}

pub(crate) fn memory(pids: &[u32]) -> anyhow::Result<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("read /proc/{pid}/smaps_rollup"))?;
        sum.resident += field(&rollup, "Rss:").context("smaps_rollup has no Rss")?;
        sum.proportional += field(&rollup, "Pss:").context("smaps_rollup has no Pss")?;
    }
    Ok(sum)
}

fn field(rollup: &str, name: &str) -> Option<u64> {
    let kilobytes = rollup.lines().find_map(|line| line.strip_prefix(name))?;
    Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 250 5 6 20 0 1 0 100";
        let cpu = parse_stat(stat).unwrap();
        assert_eq!((cpu.user.as_millis(), cpu.system.as_millis()), (1500, 2500));
        assert_eq!(cpu.total().as_millis(), 4000);
        let reaped = parse_reaped(stat).unwrap();
        assert_eq!((reaped.user.as_millis(), reaped.system.as_millis()), (50, 60));
    }

    #[test]
    fn time_that_the_machine_was_idle_is_not_its_processor_time() {
        let stat = "cpu  100 20 30 9999 888 1 2 3 50 0\ncpu0 1 2 3";
        assert_eq!(parse_machine(stat).unwrap().as_millis(), 1560);
    }

    #[test]
    fn memory_of_the_rollup_is_in_bytes() {
        let rollup = "5500-7ff [rollup]\nRss:    12 kB\nPss:    10 kB\nPss_Dirty: 3 kB\n";
        assert_eq!((field(rollup, "Rss:"), field(rollup, "Pss:")), (Some(12_288), Some(10_240)));
    }

    #[test]
    fn own_process_has_a_family_and_memory() {
        let family = family(std::process::id());
        assert!(family.contains(&std::process::id()));
        assert!(memory(&[std::process::id()]).unwrap().proportional > 0);
    }
}
