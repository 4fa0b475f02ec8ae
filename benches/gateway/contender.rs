//! Who is measured: each a role that this program plays in a process of its own, or nginx.

use crate::{
    Fallible, floor,
    load::{Connection, request},
    mock, ours,
    process::{Process, found, free, pinned},
};
use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// hyper's server and hyper-util's client, nothing between.
    Floor,
    Nginx,
    /// An axum router around our proxy, with auth and a rate limit.
    Axum,
    /// A plain route of the gateway, with all that the gateway does for one.
    Route,
    /// The route of language models, with everything.
    Gateway,
    /// The same, and its lines of log are written, to nowhere.
    Logged,
}

impl Contender {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Floor,
            Self::Axum,
            Self::Route,
            Self::Gateway,
            Self::Logged,
        ];
        if found("nginx") {
            all.insert(1, Self::Nginx);
        } else {
            eprintln!("nginx is not installed, and left out");
        }
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Nginx => "nginx",
            Self::Axum => "axum",
            Self::Route => "route",
            Self::Gateway => "gateway",
            Self::Logged => "logged",
        }
    }

    /// The first that `ONLY` names.
    pub(crate) fn chosen() -> Option<Self> {
        let only = env::var("ONLY").ok()?;
        let mut all = Self::all().into_iter();
        all.find(|one| only.split(',').any(|name| name == one.name()))
    }

    /// Where it is called.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Route => "/api/chat/completions",
            _ => "/v1/chat/completions",
        }
    }

    /// What a request may cost, as a ratio to the floor.
    pub(crate) fn budget(self) -> Option<f64> {
        match self {
            Self::Axum | Self::Route => Some(1.25),
            Self::Gateway => Some(1.45),
            Self::Floor | Self::Nginx | Self::Logged => None,
        }
    }

    /// Whether the rest of the budget is for it too.
    pub(crate) fn is_whole(self) -> bool {
        self == Self::Gateway
    }

    /// Starts it on core 0. Also tells how long it took to its first answer.
    pub(crate) async fn start(self, upstream: SocketAddr) -> Fallible<(Process, Duration)> {
        let start = Instant::now();
        let process = match self {
            Self::Nginx => nginx(upstream).await?,
            _ => Process::start(self.name(), Some(upstream), 0).await?,
        };
        let mut connection = Connection::open(process.address).await?;
        let first = request(self.path(), 1 << 10, false, "first");
        connection.call(&first).await?;
        Ok((process, start.elapsed()))
    }
}

/// What this process does if it was started in a role.
pub(crate) fn play(role: &str) -> Fallible {
    let address: SocketAddr = env::var("ADDR")?.parse()?;
    if role == "mock" {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(mock::serve(address));
    }
    let upstream: SocketAddr = env::var("UPSTREAM")?.parse()?;
    // As `#[tokio::main]` makes it; pinned to a core it has one worker.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match role {
            "floor" => floor::serve(address, upstream).await,
            "axum" => ours::axum(address, upstream).await,
            "route" => ours::route(address, upstream).await,
            "gateway" => ours::gateway(address, upstream).await,
            "logged" => {
                ours::log();
                ours::gateway(address, upstream).await
            }
            role => Err(format!("no such role: {role}").into()),
        }
    })
}

async fn nginx(upstream: SocketAddr) -> Fallible<Process> {
    let address = free()?;
    let folder = env::temp_dir().join(format!("tower-gateway-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let config = folder.join("nginx.conf");
    fs::write(&config, configuration(&folder, address, upstream))?;
    let mut command = pinned(&path_of("nginx"), 0);
    command.arg("-p").arg(&folder).arg("-c").arg(&config);
    command.arg("-e").arg(folder.join("error.log"));
    Process::spawn(command, address).await
}

fn path_of(program: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut all = env::split_paths(&path).map(|folder| folder.join(program));
    all.find(|file| file.is_file())
        .unwrap_or_else(|| program.into())
}

fn configuration(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_max_body_size 64m; client_body_buffer_size 256k;
    keepalive_requests 1000000000;
    upstream mock {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}
    server {{
        listen {address}; tcp_nodelay on;
        location / {{
            proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection '';
            proxy_buffering off;
        }}
    }}
}}
"
    )
}
