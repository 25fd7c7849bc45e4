//! What holds for any text.

use super::super::optimizer::optimize;
use super::super::superblock::Superblock;
use super::super::uop::lower;
use super::super::verify::verify;

/// Reads a text. What is read is written so that reading it again gives the same; what also obeys the rules can be optimized,
/// obeys them afterwards, and can be lowered. Panics where that is not so. For the fuzz target.
pub fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(block) = Superblock::parse(text) else {
        return;
    };
    let written = block.to_string();
    let read = Superblock::parse(&written).map(|back| back.to_string());
    assert_eq!(read.as_ref(), Ok(&written));
    if verify(&block).is_ok() {
        let optimized = optimize(block);
        assert_eq!(verify(&optimized), Ok(()), "{written}");
        // Frames may be too large; nothing else can be wrong.
        let _ = lower(&optimized);
    }
}
