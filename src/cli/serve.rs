//! `gcpo serve`: lends a device of this machine.

use crate::console::say;
use anyhow::Result;
use gcpo_model::device::Server;

use super::args::ServeArgs;

/// Serves one device until Ctrl-C.
///
/// # Errors
/// This binary has no remote devices, there is no such device, or nobody can listen there.
pub fn run(args: &ServeArgs) -> Result<()> {
    let server = Server::bind(&args.device.device, &args.listen)?;
    let (device, address) = (server.device(), server.address());
    if !device.passed_over.is_empty() {
        say!("device: {} ({})", device.name, device.passed_over.join("; "));
    }
    let host = match address.ip().is_unspecified() {
        true => "HOST".to_owned(),
        false => address
            .to_string()
            .rsplit_once(':')
            .expect("it has a port")
            .0
            .to_owned(),
    };
    say!(
        "WebSocket is not encrypted and lets everyone in who reaches {address}: serve in trusted networks only"
    );
    say!(
        "serving {} at {address} until Ctrl-C; elsewhere it is `--device remote:{host}:{}`",
        device.name,
        address.port()
    );
    Ok(server.run()?)
}
