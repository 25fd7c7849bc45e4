//! Where `print` and the standard output file write to, and warnings.
//!
//! Output is buffered. The buffer is written out when it is full, when the VM is dropped, at the end of each line if
//! the output is a terminal, and whenever [`Output::flush`] is called: before reading standard input, before writing
//! to standard error and before the process exits.

use std::io::{self, IsTerminal, Write};

use crate::tier1::State;

/// Bytes collected before they are written.
const BUFFER: usize = 16 << 10;

/// The output of a VM, an extension of its [`State`].
pub struct Output {
    sink: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    by_line: bool,
}

impl Default for Output {
    fn default() -> Output {
        let stdout = io::stdout();
        let by_line = stdout.is_terminal();
        Output { sink: Box::new(stdout), buffer: Vec::new(), by_line }
    }
}

impl Output {
    /// An output that writes to `sink`.
    pub fn new(sink: Box<dyn Write + Send>) -> Output {
        Output { sink, buffer: Vec::new(), by_line: false }
    }

    /// Writes `bytes`, or at least remembers to.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush_buffer()?;
            if bytes.len() > BUFFER {
                return self.sink.write_all(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        if self.by_line && bytes.contains(&b'\n') {
            return self.flush();
        }
        Ok(())
    }

    /// Writes out what has been remembered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.flush_buffer()?;
        self.sink.flush()
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let written = self.sink.write_all(&self.buffer);
        self.buffer.clear();
        written
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure.
        let _ = self.flush();
    }
}

/// The VM's output.
#[inline]
pub fn output(st: &mut State) -> &mut Output {
    st.extensions.get_or_default::<Output>()
}

/// Whether warnings that go to standard error are shown, and whether one is half written; off at first, as in the
/// reference.
#[derive(Default)]
struct Warnings {
    shown: bool,
    continued: bool,
}

/// Emits a piece of a warning; `more` says that others follow. A message "@on" or "@off" switches warnings.
pub fn warn(st: &mut State, piece: &[u8], more: bool) {
    if let Some(mut sink) = st.warnings.take() {
        sink(piece, more);
        st.warnings = Some(sink);
        return;
    }
    let warnings = st.extensions.get_or_default::<Warnings>();
    let begins = !warnings.continued;
    if begins && !more && piece.first() == Some(&b'@') {
        match piece {
            b"@on" => warnings.shown = true,
            b"@off" => warnings.shown = false,
            _ => {}
        }
        return;
    }
    warnings.continued = more;
    if !warnings.shown {
        return;
    }
    let prefix: &[u8] = if begins { b"Lua warning: " } else { b"" };
    let end: &[u8] = if more { b"" } else { b"\n" };
    // A message that cannot be shown is lost; there is no other place for it.
    let _ = output(st).flush();
    let _ = io::stderr().write_all(&[prefix, piece, end].concat());
}
