//! The address of the client, behind trusted proxies.
