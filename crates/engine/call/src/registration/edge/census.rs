//! How full each table of the edge's registrations is.

use super::EdgeRelay;

impl EdgeRelay {
    /// Rows of each table, by name.
    pub fn census(&self) -> [(&'static str, usize); 7] {
        [
            ("registered flows", self.flows.len()),
            ("bindings", self.count),
            ("devices", self.devices.len()),
            ("departed flows", self.departed.len()),
            ("former flows", self.former.len()),
            ("departures", self.departures.len()),
            ("binding timers", self.timers.len()),
        ]
    }
}
