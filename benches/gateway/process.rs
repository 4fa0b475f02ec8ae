//! Processes: started, pinned, measured.

use crate::Fallible;
use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread::available_parallelism,
    time::Duration,
};
use tokio::{net::TcpStream, time::Instant};

/// A process of its own; dropping it ends it.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts this very program in a role, and waits until it listens.
    pub(crate) async fn start(
        role: &str,
        upstream: Option<SocketAddr>,
        core: usize,
    ) -> Fallible<Self> {
        let address = free()?;
        let mut command = pinned(&env::current_exe()?, core);
        command.env("ROLE", role).env("ADDR", address.to_string());
        if let Some(upstream) = upstream {
            command.env("UPSTREAM", upstream.to_string());
        }
        Self::spawn(command, address).await
    }

    pub(crate) async fn spawn(mut command: Command, address: SocketAddr) -> Fallible<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut process = Self { child, address };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).await.is_err() {
            if process.child.try_wait()?.is_some() || Instant::now() > until {
                return Err(format!("{command:?} does not listen").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(process)
    }

    /// Time on a core so far, in user and in system, of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.into_iter().flatten().flatten();
        let nanos = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        match nanos.sum() {
            0 => self.ticks().unwrap_or_default(),
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// The same in hundredths of a second, for kernels that keep no better account.
    fn ticks(&self) -> Option<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The name, in parentheses, may hold anything.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_millis((user + system) * 10))
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kilobytes.unwrap_or(0_u64) * 1024
    }

    /// Sockets and other open files.
    pub(crate) fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free() -> Fallible<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The command, on that core if there are two and `taskset` is there.
pub(crate) fn pinned(program: &Path, core: usize) -> Command {
    if can_pin() {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program);
        return command;
    }
    Command::new(program)
}

/// Pins a process that runs already.
pub(crate) fn pin(id: u32, core: usize) {
    if can_pin() {
        let mut command = Command::new("taskset");
        command.args(["-a", "-p", "-c", &core.to_string(), &id.to_string()]);
        let _ = command.stdout(Stdio::null()).status();
    }
}

pub(crate) fn can_pin() -> bool {
    let cores = available_parallelism().map_or(1, usize::from);
    // Who is pinned already sees one core; the question was answered before.
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| cores > 1 && found("taskset"))
}

/// Whether a program is on the path.
pub(crate) fn found(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
