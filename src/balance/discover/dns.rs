//! Endpoints that have a name.

use super::lookups::{Found, Lookups};
use crate::{BoxError, balance::Endpoint};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The addresses of a name, A and AAAA, each with this port, by the name servers of the system. The name of
/// each endpoint is its [address](Endpoint::address).
///
/// Asked again when the least of the TTLs is over, within 5 seconds to 5 minutes, or as
/// [`Lookups::ttl`] says. If only one of the two kinds of address cannot be found out, nothing changes.
///
/// # Errors
///
/// If the system does not say which name servers it has.
pub fn dns(name: &str, port: u16) -> Result<Lookups, BoxError> {
    Ok(lookups(name, port, build(TokioResolver::builder_tokio()?)?))
}

/// As [`dns`], by one name server.
///
/// # Errors
///
/// If no resolver can be made.
pub fn dns_by(server: SocketAddr, name: &str, port: u16) -> Result<Lookups, BoxError> {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    let config = ResolverConfig::from_name_servers(vec![config]);
    let provider = TokioRuntimeProvider::default();
    let builder = Resolver::builder_with_config(config, provider);
    Ok(lookups(name, port, build(builder)?))
}

fn build(
    mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>,
) -> Result<TokioResolver, BoxError> {
    // It is asked when it is time, and not before.
    builder.options_mut().cache_size = 0;
    Ok(builder.build()?)
}

fn lookups(name: &str, port: u16, resolver: TokioResolver) -> Lookups {
    let named: Box<str> = name.into();
    Lookups::new(name, move || {
        let (resolver, name) = (resolver.clone(), named.clone());
        async move {
            let mut all = Records::default();
            for kind in [RecordType::A, RecordType::AAAA] {
                match resolver.lookup(&*name, kind).await {
                    Ok(lookup) => all.add(&lookup),
                    // There are none of this kind.
                    Err(NetError::Dns(DnsError::NoRecordsFound(_))) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let address = |ip| Endpoint::from(SocketAddr::new(ip, port));
            Ok(Found {
                endpoints: all.addresses.into_iter().map(address).collect(),
                valid_for: Duration::from_secs(all.ttl.unwrap_or_default().into()),
            })
        }
    })
}

#[derive(Default)]
struct Records {
    addresses: Vec<IpAddr>,
    ttl: Option<u32>,
}

impl Records {
    /// Also the TTLs of aliases on the way.
    fn add(&mut self, lookup: &Lookup) {
        for record in lookup.answers() {
            self.ttl = Some(self.ttl.unwrap_or(u32::MAX).min(record.ttl));
            match &record.data {
                RData::A(address) => self.addresses.push(address.0.into()),
                RData::AAAA(address) => self.addresses.push(address.0.into()),
                _ => {}
            }
        }
    }
}
