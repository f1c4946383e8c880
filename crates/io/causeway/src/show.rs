//! `causeway status`.

use std::process::ExitCode;

use admin::Page;

use crate::place::FileArg;

/// Asks the running node and prints what it says, with so many events at most.
pub(crate) fn status(
    file: &FileArg,
    json: bool,
    page: &Page,
    events: Option<usize>,
) -> anyhow::Result<ExitCode> {
    let socket = file.socket()?;
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
