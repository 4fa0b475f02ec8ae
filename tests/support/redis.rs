//! A Redis server of a test's own, if there is one on this machine.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// A server that keeps nothing on disk. It ends with the value.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    args: Vec<String>,
}

#[allow(dead_code, reason = "not every test needs all of it")]
impl RedisServer {
    /// Starts `redis-server` on a free port. Without one the test is skipped, which is printed; where
    /// `TOWER_GATEWAY_REQUIRE_SERVICES=1` is set, it fails.
    #[must_use]
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new())
    }

    /// The same, with more arguments, for its port.
    #[must_use]
    pub(crate) fn start_with(mut args: impl FnMut(u16) -> Vec<String>) -> Option<Self> {
        // A port that is free now may be another's a moment later.
        for _ in 0..5 {
            let port = free_port();
            let mut server = Self {
                child: None,
                port,
                args: args(port),
            };
            if server.restart() {
                return Some(server);
            }
        }
        let required = env::var_os("TOWER_GATEWAY_REQUIRE_SERVICES").is_some_and(|set| set == "1");
        assert!(!required, "redis-server does not start");
        println!("skipped: there is no redis-server");
        None
    }

    /// One that speaks TLS alone, as `cert.pem` by `key.pem`, and knows clients by `ca.pem`, all in one
    /// folder.
    #[must_use]
    pub(crate) fn start_tls(folder: &Path, more: &[&str]) -> Option<Self> {
        let file = |name: &str| folder.join(name).display().to_string();
        Self::start_with(|port| {
            let mut args = ["--port", "0", "--tls-port"].map(String::from).to_vec();
            args.push(port.to_string());
            for (option, name) in [
                ("--tls-cert-file", "cert.pem"),
                ("--tls-key-file", "key.pem"),
                ("--tls-ca-cert-file", "ca.pem"),
            ] {
                args.extend([option.to_owned(), file(name)]);
            }
            args.extend(more.iter().map(|&arg| arg.to_owned()));
            args
        })
    }

    /// Starts it again, on the same port and empty. Whether it is there.
    pub(crate) fn restart(&mut self) -> bool {
        self.kill();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(env::temp_dir())
            .args(&self.args)
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
            // Of one that speaks TLS alone, that somebody listens must do.
            let secret = self.args.iter().any(|arg| arg == "--tls-port");
            let there = if secret {
                TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            } else {
                process(self.port) == Some(child.id())
            };
            if there {
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

    /// Its port.
    #[must_use]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it answers to a command, as it was sent.
    pub(crate) fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it is there");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a time that is not zero");
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .expect("it reads");
        // All that is asked here is answered in one piece.
        let mut answer = vec![0; 64 << 10];
        let length = stream.read(&mut answer).expect("it answers");
        String::from_utf8_lossy(&answer[..length]).into_owned()
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

/// Three servers that share the slots of a cluster.
#[derive(Debug)]
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
    files: Vec<PathBuf>,
}

#[allow(dead_code, reason = "not every test needs it")]
impl RedisCluster {
    /// Starts them, by the rule of [`RedisServer::start`], and waits until they agree.
    #[must_use]
    pub(crate) fn start() -> Option<Self> {
        let mut cluster = Self {
            nodes: Vec::new(),
            files: Vec::new(),
        };
        let mut buses = Vec::new();
        for _ in 0..3 {
            let bus = free_port();
            let files = &mut cluster.files;
            let node = RedisServer::start_with(|port| {
                let file = format!("tower-gateway-nodes-{}-{port}.conf", std::process::id());
                files.push(env::temp_dir().join(&file));
                let args = ["--cluster-enabled", "yes", "--cluster-config-file", &file];
                let args = args.into_iter().chain([
                    "--cluster-node-timeout",
                    "2000",
                    "--cluster-require-full-coverage",
                    "no",
                    "--cluster-port",
                ]);
                let args = args.map(String::from);
                args.chain([bus.to_string()]).collect()
            })?;
            cluster.nodes.push(node);
            buses.push(bus);
        }
        let slots = ["0 5460", "5461 10922", "10923 16383"];
        for (node, slots) in cluster.nodes.iter().zip(slots) {
            let added = node.say(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
            assert!(added.starts_with("+OK"), "{added}");
        }
        for (node, bus) in cluster.nodes.iter().zip(&buses).skip(1) {
            let met = format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port);
            let met = cluster.nodes[0].say(&met);
            assert!(met.starts_with("+OK"), "{met}");
        }
        let agree = |node: &RedisServer| {
            let info = node.say("CLUSTER INFO");
            let (ok, all) = ("cluster_state:ok", "cluster_slots_ok:16384");
            info.contains(ok) && info.contains(all) && info.contains("cluster_known_nodes:3")
        };
        for _ in 0..600 {
            if cluster.nodes.iter().all(agree) {
                return Some(cluster);
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the nodes do not agree");
    }

    /// Where they are.
    #[must_use]
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        self.nodes.clear();
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|addr| addr.port())
        .expect("a free port")
}
