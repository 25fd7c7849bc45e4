//! Whole programs: every engine prints what the reference prints.

use perilune::Vm;

use crate::common::{Rng, difference, engines, run_perilune, run_reference};
use crate::generator::{Generator, Hot, render};

const HELPERS: &str = include_str!("../../../tests/random/helpers.lua");

/// The first byte says what kind of program it is, the second when loops are hot; the others are the decisions of the
/// generator.
pub fn program(input: &[u8]) {
    let [kind, hot, decisions @ ..] = input else {
        return;
    };
    let rng = Rng::deciding(decisions.to_vec());
    let program = match kind % 4 {
        0 => Generator::new(rng).program(),
        1 => Hot::new(rng).program(),
        _ => Hot::new(rng).tight(),
    };
    let source = format!("{HELPERS}\n{}", render(&program)).into_bytes();
    let expected = run_reference(&source);
    // How deep failing message handlers nest is the implementation's choice, and so is what they have done.
    let has = |text: &[u8]| expected.windows(text.len()).any(|window| window == text);
    if has(b"error in error handling") || has(b"out of call fuel") {
        return;
    }
    let hot = u32::from(hot % 16) + 1;
    for engine in engines() {
        let settings = Vm::builder().engine(engine).hot_threshold(hot);
        if let Some(report) = difference(&expected, &run_perilune(settings, &source)) {
            panic!(
                "engine {engine:?}, hot after {hot}\n{report}\n{}",
                String::from_utf8_lossy(&source)
            );
        }
    }
}
