//! Devices of other machines, by burn's remote backend over WebSocket: reaching one, and serving one of this machine.
//!
//! An operation goes to the server as it is asked for; values come back where they are read. What moves from a device to
//! another of a second server goes from server to server, under the address that this program was given for the first:
//! each server must be able to reach every other one by the name in use here.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use burn::tensor::Device;

use super::{DeviceError, DeviceSpec, Opened, open, quietly, sum};

/// Whether this binary reaches and serves remote devices.
pub const BUILT: bool = cfg!(feature = "remote");

/// How a remote device is named, for people.
pub const SPELLING: &str = "remote:HOST:PORT[/I]";

/// How long a host may take to accept a connection, and a server to answer on one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device that another process serves: `HOST:PORT`, and `/I` for another of its devices than the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `HOST:PORT`; an IPv6 address is in brackets.
    address: String,
    /// Its place among the server's devices.
    index: Option<usize>,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "remote:{}", self.address)?;
        self.index.map_or(Ok(()), |index| write!(f, "/{index}"))
    }
}

impl Remote {
    /// What `HOST:PORT[/I]` names; none where the text is nothing of that kind.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, index) = match text.split_once('/') {
            Some((address, index)) => (address, Some(index.parse().ok()?)),
            None => (text, None),
        };
        let (host, port) = address.rsplit_once(':')?;
        let in_brackets = host.starts_with('[') && host.ends_with(']');
        let is_host = !host.is_empty()
            && host.chars().all(|c| c.is_ascii_graphic() && !"?#@".contains(c))
            && (in_brackets || !host.contains(':'));
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        (is_host && is_port).then(|| Self {
            address: address.to_owned(),
            index,
        })
    }

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

        use super::counted;

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
