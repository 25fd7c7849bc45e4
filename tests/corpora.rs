//! The inputs in `fuzz/corpus` that the fuzzer has found worth keeping, and those that once showed a mistake. (Those of the target
//! `superblock` are replayed by the unit tests.)

mod common;
#[path = "random/generator.rs"]
#[allow(dead_code, reason = "programs are not made smaller here")]
mod generator;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

fn replay(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let inputs = fs::read_dir(corpus).expect("there is a corpus");
    let mut paths: Vec<_> = inputs
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    assert!(paths.len() > 10, "a corpus of {}", paths.len());
    let failing = paths.iter().filter(|path| {
        let input = fs::read(path).expect("it can be read");
        catch_unwind(|| target(&input)).is_err()
    });
    let failing: Vec<_> = failing.collect();
    assert!(failing.is_empty(), "{failing:?}");
}

macro_rules! replay {
    ($($target:ident)*) => {$(
        #[test]
        fn $target() {
            replay(stringify!($target), targets::$target);
        }
    )*};
}

replay! { source chunk bytecode pattern format pack number script program }
