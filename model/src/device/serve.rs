//! Serving a device of this machine to others.

use std::fmt;
use std::net::{SocketAddr, TcpListener};

use super::error::DeviceError;
use super::open::open;
use super::probe::Opened;
use super::remote::BUILT;
use super::spec::DeviceSpec;

/// A device of this machine, about to be served: clients may connect, and are answered once it runs.
#[derive(Debug)]
pub struct Server {
    opened: Opened,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Opens the device and listens at `HOST:PORT`; port 0 is one that is free.
    ///
    /// # Errors
    /// This binary has no remote devices, the device does not open or is itself a remote one, or the address is taken.
    pub fn bind(spec: &DeviceSpec, listen: &str) -> Result<Self, DeviceError> {
        if !BUILT {
            return Err(DeviceError::NoServer);
        }
        if matches!(spec, DeviceSpec::Remote(_)) {
            return Err(DeviceError::ServedElsewhere(spec.to_string()));
        }
        let opened = open(spec)?;
        let bound = TcpListener::bind(listen)
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .map_err(|error| not_served(listen, error))?;
        let (address, listener) = bound;
        Ok(Self {
            opened,
            listener,
            address,
        })
    }

    /// The device that is served.
    pub fn device(&self) -> &Opened {
        &self.opened
    }

    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// The connection failed, or burn cannot serve such a device.
    #[cfg(feature = "remote")]
    pub fn run(self) -> Result<(), DeviceError> {
        use burn::server::{RemoteServer, WebSocketTransport};

        RemoteServer::new([self.opened.device])
            .serve(WebSocketTransport::from_listener(self.listener))
            .map_err(|error| not_served(&self.address.to_string(), error))
    }

    /// Serves until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// This binary has no remote devices.
    #[cfg(not(feature = "remote"))]
    pub fn run(self) -> Result<(), DeviceError> {
        drop(self.listener);
        Err(DeviceError::NoServer)
    }
}

fn not_served(listen: &str, reason: impl fmt::Display) -> DeviceError {
    DeviceError::NotServed {
        listen: listen.to_owned(),
        reason: reason.to_string(),
    }
}
