//! `causeway status`.

use std::path::Path;
use std::process::ExitCode;

use admin::Page;

/// Asks the running node and prints what it says, with so many events at most.
pub(crate) fn status(
    path: &Path,
    json: bool,
    page: &Page,
    events: Option<usize>,
) -> anyhow::Result<ExitCode> {
    let (config, _) = crate::check::load(path)?;
    let socket = config.data.join(admin::SOCKET);
    let runtime = crate::runtime()?;
    if json {
        let body =
            runtime.block_on(admin::client::get(&socket, &admin::client::status_of(page)))?;
        println!("{}", String::from_utf8_lossy(&body));
    } else {
        let snapshot = runtime.block_on(admin::client::status(&socket, page))?;
        let find = page.find.as_deref();
        let view = admin::show::View { find, events };
        print!("{}", admin::show::snapshot(&snapshot, view));
    }
    Ok(ExitCode::SUCCESS)
}
