//! One target of `tests/fuzz`, by this binary's name.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let target = fuzz::target(env!("CARGO_BIN_NAME")).expect("a target of this name");
    (target.run)(data);
});
