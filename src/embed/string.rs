//! Strings.

use std::ops::Deref;

use super::error::{Error, Result};
use super::handle::handle_type;
use super::userdata::Pin;

handle_type! {
    /// A string of Lua: any bytes, often UTF-8.
    ///
    /// Converting an argument to `LuaString` instead of `String` saves the copy.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let s = vm.create_string(b"caf\xc3\xa9")?;
    /// assert_eq!(s.to_str()?, "caf\u{e9}");
    /// assert_eq!(s.as_bytes()?.len(), 5);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    LuaString, "string", |v| v.is_string()
}

impl LuaString {
    /// The bytes. Until the borrow ends other threads cannot use the VM.
    pub fn as_bytes(&self) -> Result<BorrowedBytes> {
        let pin = Pin::new(&self.0)?;
        let bytes: *const [u8] = self.0.inner.with(|st, _| {
            let s = self
                .0
                .get(st)
                .as_string()
                .expect("the handle of a string names a string");
            &raw const *s.as_bytes()
        })?;
        Ok(BorrowedBytes { bytes, pin })
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        Ok(self.as_bytes()?.to_vec())
    }

    /// A copy as text; an error if the string is not UTF-8.
    pub fn to_str(&self) -> Result<String> {
        String::from_utf8(self.to_vec()?).map_err(Error::external)
    }

    /// A copy as text, with replacement characters for what is not UTF-8.
    pub fn to_string_lossy(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.as_bytes()?).into_owned())
    }
}

/// The bytes of a string; see [`LuaString::as_bytes`].
pub struct BorrowedBytes {
    bytes: *const [u8],
    #[expect(dead_code, reason = "held for its Drop")]
    pin: Pin,
}

impl Deref for BorrowedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: strings do not move or change; the pin keeps the string and the VM.
        unsafe { &*self.bytes }
    }
}
