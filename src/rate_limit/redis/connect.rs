//! Where Redis is, and connections to it.

use crate::storage::StoreError;
use redis::{
    Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisError, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::{ClusterClient, ClusterConfig},
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::time::Duration;

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// One server, or the nodes of a cluster that are asked for the others.
#[derive(Clone)]
pub(super) struct Place {
    nodes: Vec<ConnectionInfo>,
    clustered: bool,
    authorities: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Place {
    pub(super) fn new(
        urls: impl IntoIterator<Item = impl AsRef<str>>,
        clustered: bool,
    ) -> Result<Self, StoreError> {
        let nodes = urls.into_iter().map(|url| node(url.as_ref()));
        let place = Self {
            nodes: nodes.collect::<Result<_, _>>()?,
            clustered,
            authorities: None,
            identity: None,
        };
        place.checked()
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.clustered
    }

    pub(super) fn authorities(mut self, pem: &[u8]) -> Result<Self, StoreError> {
        self.authorities = Some(pem.to_vec());
        self.checked()
    }

    pub(super) fn identity(mut self, chain: &[u8], key: &[u8]) -> Result<Self, StoreError> {
        self.identity = Some((chain.to_vec(), key.to_vec()));
        self.checked()
    }

    /// What is wrong is told at once, and not by the first call. What the driver says of it may quote what
    /// it was given.
    fn checked(self) -> Result<Self, StoreError> {
        self.target()
            .map_err(|_| StoreError::invalid("one cannot connect to Redis with these settings"))?;
        Ok(self)
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        let client_tls = self.identity.clone();
        let client_tls = client_tls.map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        });
        let some = client_tls.is_some() || self.authorities.is_some();
        some.then(|| TlsCertificates {
            client_tls,
            root_cert: self.authorities.clone(),
        })
    }

    fn target(&self) -> Result<Target, RedisError> {
        let certificates = self.certificates();
        if !self.clustered
            && let [one] = &self.nodes[..]
        {
            let one = one.clone();
            let client = match certificates {
                Some(certificates) => Client::build_with_tls(one, certificates)?,
                None => Client::open(one)?,
            };
            return Ok(Target::One(client.into()));
        }
        // A command is sent again where a node says who has its slot now, and where a connection broke.
        let builder = ClusterClient::builder(self.nodes.clone())
            .tcp_settings(tcp())
            .retries(4)
            .min_retry_wait(1)
            .max_retry_wait(20);
        let client = match certificates {
            Some(certificates) => builder.certs(certificates).build()?,
            None => builder.build()?,
        };
        Ok(Target::Cluster(client.into()))
    }

    /// A connection that is being made: whoever asks by it waits for that too.
    pub(super) fn connect(&self) -> Result<Connection, RedisError> {
        let tls = |node: &ConnectionInfo| matches!(node.addr(), ConnectionAddr::TcpTls { .. });
        if self.nodes.iter().any(tls) && CryptoProvider::get_default().is_none() {
            // The driver takes the provider of the process, and panics where it cannot choose one. Whoever
            // was first to set one has chosen.
            let _ = aws_lc_rs::default_provider().install_default();
        }
        Ok(match self.target()? {
            Target::One(client) => {
                // Whoever asks tries again: nobody else is to wait for a server that is not there.
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(0)
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(None)
                    .set_pipeline_buffer_size(4096);
                let connection = ConnectionManager::new_lazy_with_config(*client, config)?;
                let mut first = connection.clone();
                // Connecting may take longer than the first call will wait for.
                tokio::spawn(async move {
                    let _: Result<(), _> = redis::cmd("PING").query_async(&mut first).await;
                });
                Connection::One(connection)
            }
            Target::Cluster(client) => {
                let config = ClusterConfig::new().set_connection_timeout(PATIENCE);
                Connection::Cluster(client.get_pending_async_connection_with_config(config))
            }
        })
    }
}

fn node(url: &str) -> Result<ConnectionInfo, StoreError> {
    // Behind `#` the driver can be told to trust anyone.
    let known = !url.contains('#');
    let info = known.then(|| url.into_connection_info());
    // The error of the driver may quote what it was given.
    let info = info.and_then(Result::ok);
    let info = info.ok_or_else(|| StoreError::invalid("this is not the URL of a Redis server"))?;
    Ok(info.set_tcp_settings(tcp()))
}

/// Small messages, of which many are on their way at once; and peers that may be gone without a word.
fn tcp() -> TcpSettings {
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(Duration::from_secs(10)));
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(5));
    settings
}

enum Target {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// Serves all calls at once. Its clones are handles of the same.
#[derive(Clone)]
pub(super) enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}
