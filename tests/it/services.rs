//! Servers that tests start for themselves, and that end with the test program.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// A server of PostgreSQL, for all tests of this program. `None`, and it says so: there is none to
/// start. With `TOWER_GATEWAY_REQUIRE_SERVICES=1` that fails the test.
pub(crate) fn postgres() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Some(Postgres::start(&programs()?)));
    if server.is_none() {
        let required = env::var_os("TOWER_GATEWAY_REQUIRE_SERVICES").is_some_and(|set| set == "1");
        assert!(!required, "postgres is not installed");
        println!("skipped: postgres is not installed");
    }
    server.as_ref()
}

pub(crate) struct Postgres {
    programs: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    /// Its standard input ends with this program, and by that the server does.
    _server: Child,
}

impl Postgres {
    fn start(programs: &Path) -> Self {
        let user = server_user();
        let folder = env::temp_dir().join(format!("tower-gateway-postgres-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).unwrap();
        }
        let port = free_port();
        let data = folder.join("data");

        let mut made = command(programs.join("initdb"), user);
        made.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "-D",
        ]);
        let made = made.arg(&data).output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );

        let script = r#""$@" & server=$!; cat >/dev/null; kill -INT $server; wait $server; rm -rf "$FOLDER""#;
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut server = command("/bin/sh".into(), user);
        server.args(["-c", script, "sh"]);
        server.arg(programs.join("postgres")).arg("-D").arg(&data);
        server.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        server.args(["-c", "max_connections=200"]);
        server.env("FOLDER", &folder).stdin(Stdio::piped());
        server.stdout(log.try_clone().unwrap()).stderr(log);
        let server = Self {
            programs: programs.into(),
            port,
            user,
            _server: server.spawn().unwrap(),
        };
        for _ in 0..300 {
            if server.run("pg_isready", &[]) {
                return server;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(folder.join("log")).unwrap();
        panic!("postgres does not start: {log}");
    }

    fn run(&self, program: &str, args: &[&str]) -> bool {
        let mut command = command(self.programs.join(program), self.user);
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
        ]);
        command.args(args).output().unwrap().status.success()
    }

    /// The URL of a new database.
    pub(crate) fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        assert!(self.run("createdb", &[&name]), "there is no database");
        format!("postgres://postgres:canary@127.0.0.1:{}/{name}", self.port)
    }

    /// A statement, as an administrator's.
    pub(crate) fn execute(&self, url: &str, sql: &str) {
        let name = url.rsplit('/').next().unwrap();
        assert!(self.run("psql", &["-q", "-d", name, "-c", sql]), "{sql}");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn command(program: PathBuf, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    // Wherever this runs, the other user may not be able to read.
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Whom to be, for the server refuses to be root.
fn server_user() -> Option<(u32, u32)> {
    let root = fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    if !root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")))?;
        let mut ids = line.split(':').skip(2);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user that is not root"),
    )
}

/// Where the programs of PostgreSQL are.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).filter_map(|folder| {
        // A link leads to where the others are.
        let server = fs::canonicalize(folder.join("postgres")).ok()?;
        server.parent().map(Path::to_owned)
    });
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    found
        .chain(versions)
        .find(|folder| folder.join("initdb").exists())
}
