//! What holds for each client, and its requests.

use super::{Server, YEAR};
use crate::{
    gateway::{head::Head, pace::Rate},
    rejection::Kind,
};
use std::time::Duration;

impl Server {
    /// Sets how many connections a client may have open at once: an IPv4 address, or a /64 of IPv6. The
    /// next one is closed. `None`, the default: no bound, for behind a proxy all clients have its address.
    #[must_use]
    pub fn max_connections_per_client(mut self, connections: impl Into<Option<usize>>) -> Self {
        self.per_client = connections.into();
        self
    }

    /// Sets how many bytes a second the body of a request must bring, on the average of all the time in
    /// which somebody waits for it, and for how long nothing need come before that is looked at. 240 and
    /// 5 seconds by default, as in Kestrel. Zero: any rate will do.
    ///
    /// It holds until the request is being answered, and not for gRPC: there the two may take turns.
    #[must_use]
    pub fn body_rate(mut self, bytes_per_second: u64, grace: Duration) -> Self {
        let refusal = self.clients.slow_body;
        self.clients.rate = (bytes_per_second > 0).then_some(Rate {
            bytes_per_second,
            grace: grace.min(YEAR),
            refusal,
        });
        self
    }

    /// Sets what a body that comes too slowly is answered with: [`Kind::RequestTimeout`], 408, by default.
    #[must_use]
    pub fn slow_body(mut self, kind: Kind) -> Self {
        self.clients.slow_body = kind;
        if let Some(rate) = &mut self.clients.rate {
            rate.refusal = kind;
        }
        self
    }

    /// Sets how long a path with its query may be: 16 KiB by default.
    #[must_use]
    pub fn max_uri(mut self, bytes: usize) -> Self {
        self.clients.head.uri_bytes = bytes;
        self
    }

    /// Sets how many headers a request may have: 100 by default.
    #[must_use]
    pub fn max_headers(mut self, headers: usize) -> Self {
        self.clients.head.headers = headers;
        self
    }

    /// Sets how large the headers of a request may be in all: names, values, and 32 bytes for each, as
    /// HTTP/2 counts them. 64 KiB by default, and 16 MiB at the most.
    #[must_use]
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.clients.head.header_bytes = bytes.min(16 << 20);
        self
    }
}

/// What holds for the requests of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients {
    pub(super) header_time: Duration,
    pub(super) head: Head,
    pub(super) rate: Option<Rate>,
    slow_body: Kind,
}

impl Default for Clients {
    fn default() -> Self {
        let slow_body = Kind::RequestTimeout;
        Self {
            header_time: Duration::from_secs(30),
            head: Head::default(),
            rate: Some(Rate {
                bytes_per_second: 240,
                grace: Duration::from_secs(5),
                refusal: slow_body,
            }),
            slow_body,
        }
    }
}
