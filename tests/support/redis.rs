//! A Redis server of a test's own, if there is one on this machine.

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// A server that keeps nothing on disk. It ends with the value.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
}

#[allow(dead_code, reason = "not every test needs all of it")]
impl RedisServer {
    /// Starts `redis-server` on a free port. Without one the test is skipped, which is printed; where
    /// `TOWER_GATEWAY_REQUIRE_SERVICES=1` is set, it fails.
    #[must_use]
    pub(crate) fn start() -> Option<Self> {
        // A port that is free now may be another's a moment later.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .map(|addr| addr.port())
                .expect("a free port");
            let mut server = Self { child: None, port };
            if server.restart() {
                return Some(server);
            }
        }
        let required = env::var_os("TOWER_GATEWAY_REQUIRE_SERVICES").is_some_and(|set| set == "1");
        assert!(!required, "redis-server does not start");
        println!("skipped: there is no redis-server");
        None
    }

    /// Starts it again, on the same port and empty. Whether it is there.
    pub(crate) fn restart(&mut self) -> bool {
        self.kill();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = child.ok();
        for _ in 0..500 {
            let Some(child) = &mut self.child else {
                return false;
            };
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                self.child = None;
                return false;
            }
            if process(self.port) == Some(child.id()) {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Kills it, as a machine that fails.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it neither answer nor hang up (`SIGSTOP`), or go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        if let Some(child) = &self.child {
            let id = child.id().to_string();
            let _ = Command::new("kill").args([signal, &id]).status();
        }
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// The process that answers there, if it is a Redis server that is ready.
fn process(port: u16) -> Option<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let patience = Some(Duration::from_secs(1));
    stream.set_read_timeout(patience).ok()?;
    stream.write_all(b"INFO server\r\nQUIT\r\n").ok()?;
    let mut info = String::new();
    stream.read_to_string(&mut info).ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"))?;
    line.trim().parse().ok()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
