//! Tells the node once a minute what the kernel says of the machine's clock. Where the system does
//! not tell, the node hears nothing.

use std::time::Duration;

use net::clock;
use node::io::Input;
use status::ClockRow;
use tokio::sync::watch;

use crate::signal::Handle;

/// Between readings. NTP clients themselves ask their servers about as often.
const EVERY: Duration = Duration::from_secs(60);

/// Reads until the node stops.
pub(crate) async fn watch(handle: Handle, mut stop: watch::Receiver<bool>) {
    while let Some(reading) = clock::read() {
        let row = ClockRow {
            synchronised: reading.synchronised,
            offset_us: reading.offset_us,
            error_us: reading.error_us,
        };
        if handle.input(Input::HostClock(row)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            // A sender that is gone means that the program stops.
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
