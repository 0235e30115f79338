//! Devices of other machines, by burn's remote backend over WebSocket.
//!
//! An operation goes to the server as it is asked for; values come back where they are read. What moves from a device to
//! another of a second server goes from server to server, under the address that this program was given for the first:
//! each server must be able to reach every other one by the name in use here.

use std::fmt;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use burn::tensor::Device;

use super::error::DeviceError;
use super::probe::{Opened, quietly, sum};
use super::spec::Remote;

/// Whether this binary reaches and serves remote devices.
pub const BUILT: bool = cfg!(feature = "remote");

/// How a remote device is named, for people.
pub const SPELLING: &str = "remote:HOST:PORT[/I]";

/// How long a host may take to accept a connection, and a server to answer on one.
const PATIENCE: Duration = Duration::from_secs(10);

impl Remote {
    /// Connects, and runs one small computation there.
    ///
    /// # Errors
    /// This binary has no remote devices, nobody answers, the server has no such device, or it does not compute.
    pub(super) fn open(&self) -> Result<Opened, DeviceError> {
        if !BUILT {
            return Err(DeviceError::NotBuilt("remote"));
        }
        self.reach().map_err(|reason| self.unreachable(reason))?;
        let device = self.connect()?;
        quietly(|| sum(&device)).map_err(|reason| DeviceError::Broken {
            spec: self.to_string(),
            reason,
        })?;
        Ok(Opened {
            device,
            name: self.to_string(),
            memory: None,
            passed_over: Vec::new(),
        })
    }

    /// Looks whether anybody listens. burn's client asks again for 16 seconds where nobody does.
    fn reach(&self) -> Result<(), String> {
        let mut reason = "the host has no address".to_owned();
        let addresses = self.address.to_socket_addrs();
        for address in addresses.map_err(|error| error.to_string())? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    fn unreachable(&self, reason: impl fmt::Display) -> DeviceError {
        DeviceError::Unreachable {
            spec: self.to_string(),
            reason: reason.to_string(),
            port: self.address.rsplit(':').next().unwrap_or_default().to_owned(),
        }
    }

    #[cfg(feature = "remote")]
    fn connect(&self) -> Result<Device, DeviceError> {
        use burn::remote::{ConnectError, RemoteHost};

        use super::error::counted;

        let host = RemoteHost::websocket(&format!("ws://{}", self.address));
        let options = Device::remote_options(&host).device_index(self.index.unwrap_or(0));
        // Whoever else listens there may never answer, and burn would wait for ever.
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || send.send(options.init()));
        let connected = receive
            .recv_timeout(PATIENCE)
            .map_err(|_| self.unreachable(format!("no answer in {} seconds", PATIENCE.as_secs())))?;
        connected.map_err(|error| match error {
            ConnectError::NoSuchDevice { device_count } => DeviceError::Absent {
                spec: self.to_string(),
                kind: "remote",
                found: counted(device_count),
                help: "give an index that the server has",
            },
            error => self.unreachable(error),
        })
    }

    #[cfg(not(feature = "remote"))]
    fn connect(&self) -> Result<Device, DeviceError> {
        Err(DeviceError::NotBuilt("remote"))
    }
}
