//! Connecting to a web server: where policies are fetched and reports are posted.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use crate::route::Reach;

/// Addresses of a host that are tried.
pub(crate) const ADDRESSES_MAX: usize = 3;

/// Connects to the first of a host's addresses that takes the connection, each within a time of its own. `may_reach`
/// keeps a stranger's DNS from pointing us into our own networks.
///
/// # Errors
/// Why the last one did not, or that there is none.
pub(crate) async fn connect(
    (host, port): (&str, u16),
    addresses: Vec<IpAddr>,
    may_reach: &Reach,
    each: Duration,
) -> Result<(SocketAddr, TcpStream), String> {
    let mut failure = format!("{host} has no address that may be connected to");
    for address in addresses.into_iter().filter(|address| may_reach(*address)).take(ADDRESSES_MAX) {
        let address = SocketAddr::new(address, port);
        failure = match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok((address, tcp)),
            Ok(Err(error)) => format!("{host} at {address}: {error}"),
            Err(_) => format!("{host} at {address} does not answer"),
        };
    }
    Err(failure)
}
