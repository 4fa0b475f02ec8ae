//! What tells one state of a file from the next, and whether somebody may be in the middle of writing it.

use std::{
    fs::Metadata,
    time::{Duration, SystemTime},
};

/// How long a file must have been seen as it is until it is read.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// What has not been touched for so long is read at first sight. Not shorter, for the clock of a network's file
/// system is another one.
const OLD: Duration = Duration::from_secs(5);

/// How long after a change the time of a file cannot tell it from the next one.
const TICK: Duration = Duration::from_millis(50);

/// The same where no time has a fraction of a second.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// What a file has from when it is written, whatever it is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    file: u64,
    length: u64,
    modified: SystemTime,
}

impl Mark {
    pub(super) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let file = 0;
        Self {
            file,
            length: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// In a line.
    pub(super) fn write(&self) -> String {
        let since = self.modified.duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        format!("{} {} {nanos}\n", self.file, self.length)
    }

    /// What [`write`](Self::write) made.
    pub(super) fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut next = || words.next()?.parse().ok();
        let (file, length, nanos) = (next()?, next()?, next()?);
        Some(Self {
            file,
            length,
            modified: SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))?,
        })
    }
}

/// The same, and what changes with the name of a file and with its rights, and cannot be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) mark: Mark,
    changed: SystemTime,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let mark = Mark::of(metadata);
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt as _;
            let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
            let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
        };
        #[cfg(not(unix))]
        let changed = mark.modified;
        Self { mark, changed }
    }

    /// When its content changed last.
    pub(super) fn modified(&self) -> SystemTime {
        self.mark.modified
    }

    /// `None`: it is of the future.
    fn age(&self) -> Option<Duration> {
        let last = self.changed.max(self.mark.modified);
        SystemTime::now().duration_since(last).ok()
    }

    /// Whether nobody has touched it for long.
    pub(super) fn is_old(&self) -> bool {
        self.age().is_some_and(|age| age >= OLD)
    }

    /// Whether it may have changed since without another sign.
    pub(super) fn is_fresh(&self) -> bool {
        let is_whole = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.is_ok_and(|since| since.subsec_nanos() == 0)
        };
        // There are file systems that tell seconds, and such that tell every other one.
        let tick = match is_whole(self.mark.modified) && is_whole(self.changed) {
            true => COARSE_TICK,
            false => TICK,
        };
        self.age().is_some_and(|age| age < tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_whole_seconds_is_not_trusted_for_two() {
        let second = Duration::from_secs(1);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.unwrap().as_secs());
        let stamp = |modified: SystemTime| {
            let mark = Mark {
                file: 1,
                length: 1,
                modified,
            };
            Stamp {
                mark,
                changed: modified,
            }
        };
        assert!(stamp(now).is_fresh());
        assert!(!stamp(now - 3 * second).is_fresh());
        assert!(!stamp(now - second + Duration::from_nanos(1)).is_fresh());
    }

    #[test]
    fn a_mark_is_written_and_read() {
        let mark = Mark {
            file: u64::MAX,
            length: 7,
            modified: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_795_335_050_123_456_789),
        };
        assert_eq!(Mark::read(mark.write().trim_end()), Some(mark));
        for bad in ["", "1 2", "1 2 x", "1 -2 3"] {
            assert_eq!(Mark::read(bad), None, "{bad}");
        }
    }
}
