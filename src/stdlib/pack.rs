//! `string.pack`, `string.unpack` and `string.packsize` without a VM: reading format options, and
//! encoding and decoding single values.
//!
//! A caller walks the [`Options`] of a format and handles each [`Layout`] it yields: to pack, append
//! [`pad`] and then the argument with the `pack_` function for its [`Kind`]; to unpack, call
//! [`unpack`]. Sizes are those of 64-bit Linux whatever the machine, apart from byte order.

use std::fmt;
use std::ops::Range;

/// The largest size of an integer, in bytes.
const MAX_INTEGER_SIZE: usize = 16;
const LUA_INTEGER_SIZE: usize = 8;
const SIZE_T_SIZE: usize = 8;
const NATIVE_ALIGNMENT: usize = 8;

/// The largest result of `packsize`, and the bound for sizes in a format.
const MAX_SIZE: usize = i32::MAX as usize;

/// Why packing or unpacking failed. The text is the message Lua reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackError {
    SizeOutOfLimits(usize),
    MissingSize,
    InvalidOption(u8),
    InvalidNextOption,
    AlignmentNotPowerOfTwo,
    VariableLength,
    ResultTooLarge,
    IntegerOverflow,
    UnsignedOverflow,
    StringTooLong,
    LengthDoesNotFit,
    StringContainsZeros,
    DataTooShort,
    UnfinishedString,
    IntegerDoesNotFit(usize),
    OutOfMemory,
}

/// Whom an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody: the message stands alone.
    None,
    /// The argument with this number.
    Argument(usize),
    /// The argument that was being packed.
    Value,
}

impl PackError {
    /// The message Lua reports. It may quote a byte of the format, so it need not be valid UTF-8.
    pub fn message(self) -> Vec<u8> {
        match self {
            PackError::InvalidOption(option) => {
                [b"invalid format option '", &[option][..], b"'"].concat()
            }
            error => error.to_string().into_bytes(),
        }
    }

    /// Which argument the error message names.
    pub fn blame(self) -> Blame {
        match self {
            PackError::SizeOutOfLimits(_)
            | PackError::MissingSize
            | PackError::InvalidOption(_)
            | PackError::IntegerDoesNotFit(_)
            | PackError::OutOfMemory => Blame::None,
            PackError::InvalidNextOption
            | PackError::AlignmentNotPowerOfTwo
            | PackError::VariableLength
            | PackError::ResultTooLarge => Blame::Argument(1),
            PackError::DataTooShort | PackError::UnfinishedString => Blame::Argument(2),
            PackError::IntegerOverflow
            | PackError::UnsignedOverflow
            | PackError::StringTooLong
            | PackError::LengthDoesNotFit
            | PackError::StringContainsZeros => Blame::Value,
        }
    }
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PackError::SizeOutOfLimits(size) => {
                return write!(
                    f,
                    "integral size ({size}) out of limits [1,{MAX_INTEGER_SIZE}]"
                );
            }
            PackError::MissingSize => "missing size for format option 'c'",
            PackError::InvalidOption(option) => {
                return write!(f, "invalid format option '{}'", char::from(*option));
            }
            PackError::InvalidNextOption => "invalid next option for option 'X'",
            PackError::AlignmentNotPowerOfTwo => "format asks for alignment not power of 2",
            PackError::VariableLength => "variable-length format",
            PackError::ResultTooLarge => "format result too large",
            PackError::IntegerOverflow => "integer overflow",
            PackError::UnsignedOverflow => "unsigned overflow",
            PackError::StringTooLong => "string longer than given size",
            PackError::LengthDoesNotFit => "string length does not fit in given size",
            PackError::StringContainsZeros => "string contains zeros",
            PackError::DataTooShort => "data string too short",
            PackError::UnfinishedString => "unfinished string for format 'z'",
            PackError::IntegerDoesNotFit(size) => {
                return write!(f, "{size}-byte integer does not fit into Lua Integer");
            }
            PackError::OutOfMemory => "not enough memory",
        })
    }
}

impl std::error::Error for PackError {}

/// What an option stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A signed integer; takes a value.
    Int,
    /// An unsigned integer; takes a value.
    Uint,
    /// A float of four or eight bytes; takes a value.
    Float,
    /// A string of exactly the option's size; takes a value.
    FixedString,
    /// A string after its length, which has the option's size; takes a value.
    CountedString,
    /// A string before a zero byte; takes a value.
    ZeroString,
    /// A zero byte.
    Padding,
    /// Nothing but alignment, or a change of settings.
    Nothing,
}

/// An option of a format, with all that earlier options say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub kind: Kind,
    /// Bytes to skip first, for alignment.
    pub padding: usize,
    /// Bytes of the fixed part.
    pub size: usize,
    little_endian: bool,
}

/// The options of a format, read one by one.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
    little_endian: bool,
    max_alignment: usize,
}

impl<'a> Options<'a> {
    /// Starts reading. A format ends at its first zero byte.
    pub fn new(format: &'a [u8]) -> Options<'a> {
        let end = memchr::memchr(0, format).unwrap_or(format.len());
        Options {
            rest: &format[..end],
            little_endian: cfg!(target_endian = "little"),
            max_alignment: 1,
        }
    }

    /// The next option, for a value at `offset` bytes from the start of the data; `None` at the end
    /// of the format.
    pub fn next_option(&mut self, offset: usize) -> Result<Option<Layout>, PackError> {
        let [letter, rest @ ..] = self.rest else {
            return Ok(None);
        };
        self.rest = rest;
        let aligns = *letter == b'X';
        let (kind, size) = self.read(*letter)?;
        let mut alignment = match kind {
            Kind::FixedString => 1,
            _ if aligns => self.read_alignment()?,
            _ => size,
        };
        let mut padding = 0;
        if alignment > 1 {
            alignment = alignment.min(self.max_alignment);
            if !alignment.is_power_of_two() {
                return Err(PackError::AlignmentNotPowerOfTwo);
            }
            padding = offset.wrapping_neg() & (alignment - 1);
        }
        Ok(Some(Layout {
            kind,
            padding,
            size,
            little_endian: self.little_endian,
        }))
    }

    /// What the option after `X` would be aligned to.
    fn read_alignment(&mut self) -> Result<usize, PackError> {
        let [letter, rest @ ..] = self.rest else {
            return Err(PackError::InvalidNextOption);
        };
        self.rest = rest;
        match self.read(*letter)? {
            (Kind::FixedString, _) | (_, 0) => Err(PackError::InvalidNextOption),
            (_, size) => Ok(size),
        }
    }

    /// Classifies the option `letter`, reads its size, and applies settings.
    fn read(&mut self, letter: u8) -> Result<(Kind, usize), PackError> {
        Ok(match letter {
            b'b' => (Kind::Int, 1),
            b'B' => (Kind::Uint, 1),
            b'h' => (Kind::Int, 2),
            b'H' => (Kind::Uint, 2),
            b'i' => (Kind::Int, self.read_integer_size(4)?),
            b'I' => (Kind::Uint, self.read_integer_size(4)?),
            b'l' | b'j' => (Kind::Int, LUA_INTEGER_SIZE),
            b'L' | b'J' => (Kind::Uint, LUA_INTEGER_SIZE),
            b'T' => (Kind::Uint, SIZE_T_SIZE),
            b'f' => (Kind::Float, 4),
            b'd' | b'n' => (Kind::Float, 8),
            b's' => (Kind::CountedString, self.read_integer_size(SIZE_T_SIZE)?),
            b'c' => (
                Kind::FixedString,
                self.read_number().ok_or(PackError::MissingSize)?,
            ),
            b'z' => (Kind::ZeroString, 0),
            b'x' => (Kind::Padding, 1),
            b'X' | b' ' => (Kind::Nothing, 0),
            b'<' => self.set_order(true),
            b'>' => self.set_order(false),
            b'=' => self.set_order(cfg!(target_endian = "little")),
            b'!' => {
                self.max_alignment = self.read_integer_size(NATIVE_ALIGNMENT)?;
                (Kind::Nothing, 0)
            }
            _ => return Err(PackError::InvalidOption(letter)),
        })
    }

    fn set_order(&mut self, little_endian: bool) -> (Kind, usize) {
        self.little_endian = little_endian;
        (Kind::Nothing, 0)
    }

    fn read_integer_size(&mut self, default: usize) -> Result<usize, PackError> {
        let size = self.read_number().unwrap_or(default);
        if (1..=MAX_INTEGER_SIZE).contains(&size) {
            Ok(size)
        } else {
            Err(PackError::SizeOutOfLimits(size))
        }
    }

    /// Reads digits as long as the number stays within bounds.
    fn read_number(&mut self) -> Option<usize> {
        let mut number = None;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            let value = number.unwrap_or(0);
            if value > (MAX_SIZE - 9) / 10 {
                break;
            }
            number = Some(value * 10 + usize::from(digit - b'0'));
            self.rest = rest;
        }
        number
    }
}

/// The size of the result of packing with `format`: `string.packsize`.
pub fn pack_size(format: &[u8]) -> Result<usize, PackError> {
    let mut options = Options::new(format);
    let mut total = 0;
    while let Some(layout) = options.next_option(total)? {
        if matches!(layout.kind, Kind::CountedString | Kind::ZeroString) {
            return Err(PackError::VariableLength);
        }
        total += layout.padding + layout.size;
        if total > MAX_SIZE {
            return Err(PackError::ResultTooLarge);
        }
    }
    Ok(total)
}

/// Appends a layout's alignment, and the byte if it is one of padding.
pub fn pad(out: &mut Vec<u8>, layout: &Layout) -> Result<(), PackError> {
    let byte = usize::from(layout.kind == Kind::Padding);
    append_zeros(out, layout.padding + byte)
}

/// Appends an integer, for [`Kind::Int`] and [`Kind::Uint`].
pub fn pack_int(out: &mut Vec<u8>, layout: &Layout, value: i64) -> Result<(), PackError> {
    let signed = layout.kind == Kind::Int;
    if layout.size < LUA_INTEGER_SIZE {
        let bits = layout.size * 8;
        if signed {
            let limit = 1 << (bits - 1);
            if !(-limit..limit).contains(&value) {
                return Err(PackError::IntegerOverflow);
            }
        } else if value as u64 >> bits != 0 {
            return Err(PackError::UnsignedOverflow);
        }
    }
    let wide = if signed {
        i128::from(value)
    } else {
        i128::from(value as u64)
    };
    append_integer(out, layout, wide)
}

/// Appends the low bytes of `value`.
fn append_integer(out: &mut Vec<u8>, layout: &Layout, value: i128) -> Result<(), PackError> {
    if layout.little_endian {
        append(out, &value.to_le_bytes()[..layout.size])
    } else {
        append(out, &value.to_be_bytes()[MAX_INTEGER_SIZE - layout.size..])
    }
}

/// Appends a float, for [`Kind::Float`].
pub fn pack_float(out: &mut Vec<u8>, layout: &Layout, value: f64) -> Result<(), PackError> {
    match (layout.size, layout.little_endian) {
        (4, true) => append(out, &(value as f32).to_le_bytes()),
        (4, false) => append(out, &(value as f32).to_be_bytes()),
        (_, true) => append(out, &value.to_le_bytes()),
        (_, false) => append(out, &value.to_be_bytes()),
    }
}

/// Appends a string, for the string kinds.
pub fn pack_string(out: &mut Vec<u8>, layout: &Layout, text: &[u8]) -> Result<(), PackError> {
    match layout.kind {
        Kind::CountedString => {
            let length = text.len() as u64;
            if layout.size < SIZE_T_SIZE && length >> (layout.size * 8) != 0 {
                return Err(PackError::LengthDoesNotFit);
            }
            append_integer(out, layout, i128::from(length))?;
            append(out, text)
        }
        Kind::ZeroString => {
            if memchr::memchr(0, text).is_some() {
                return Err(PackError::StringContainsZeros);
            }
            append(out, text)?;
            append_zeros(out, 1)
        }
        _ => {
            let missing = layout.size.checked_sub(text.len());
            let missing = missing.ok_or(PackError::StringTooLong)?;
            append(out, text)?;
            append_zeros(out, missing)
        }
    }
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), PackError> {
    out.try_reserve(bytes.len())
        .map_err(|_| PackError::OutOfMemory)?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn append_zeros(out: &mut Vec<u8>, count: usize) -> Result<(), PackError> {
    out.try_reserve(count).map_err(|_| PackError::OutOfMemory)?;
    out.resize(out.len() + count, 0);
    Ok(())
}

/// What an option unpacks to.
#[derive(Clone, Debug, PartialEq)]
pub enum Unpacked {
    /// No value.
    Nothing,
    Int(i64),
    Float(f64),
    /// The part of the data with these offsets.
    Text(Range<usize>),
}

/// Decodes the value that `layout` describes at `offset`, which is within `data`; returns it with the
/// offset after it.
pub fn unpack(data: &[u8], offset: usize, layout: &Layout) -> Result<(Unpacked, usize), PackError> {
    let start = offset + layout.padding;
    let end = start + layout.size;
    let bytes = data.get(start..end).ok_or(PackError::DataTooShort)?;
    Ok(match layout.kind {
        Kind::Int | Kind::Uint => (Unpacked::Int(unpack_int(bytes, layout)?), end),
        Kind::Float => (Unpacked::Float(unpack_float(bytes, layout)), end),
        Kind::FixedString => (Unpacked::Text(start..end), end),
        Kind::CountedString => {
            let length = unpack_int(bytes, layout)? as u64;
            if length > (data.len() - end) as u64 {
                return Err(PackError::DataTooShort);
            }
            let text = end..end + length as usize;
            (Unpacked::Text(text.clone()), text.end)
        }
        Kind::ZeroString => {
            let length = memchr::memchr(0, &data[start..]);
            let length = length.ok_or(PackError::UnfinishedString)?;
            (Unpacked::Text(start..start + length), start + length + 1)
        }
        Kind::Padding | Kind::Nothing => (Unpacked::Nothing, end),
    })
}

fn unpack_int(bytes: &[u8], layout: &Layout) -> Result<i64, PackError> {
    let signed = layout.kind == Kind::Int;
    let most_significant = if layout.little_endian {
        bytes.last()
    } else {
        bytes.first()
    };
    let negative = signed && most_significant.is_some_and(|&byte| byte >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; MAX_INTEGER_SIZE];
    let value = if layout.little_endian {
        wide[..bytes.len()].copy_from_slice(bytes);
        i128::from_le_bytes(wide)
    } else {
        wide[MAX_INTEGER_SIZE - bytes.len()..].copy_from_slice(bytes);
        i128::from_be_bytes(wide)
    };
    // Unsigned integers of eight bytes wrap around; larger ones must fit.
    let low = value as i64;
    let fits = if signed {
        i128::from(low) == value
    } else {
        i128::from(low as u64) == value
    };
    if fits {
        Ok(low)
    } else {
        Err(PackError::IntegerDoesNotFit(bytes.len()))
    }
}

fn unpack_float(bytes: &[u8], layout: &Layout) -> f64 {
    let mut wide = [0; 8];
    let used = &mut wide[..bytes.len()];
    used.copy_from_slice(bytes);
    if !layout.little_endian {
        used.reverse();
    }
    let bits = u64::from_le_bytes(wide);
    if bytes.len() == 4 {
        f64::from(f32::from_bits(bits as u32))
    } else {
        f64::from_bits(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(format: &str, values: &[i64]) -> Result<Vec<u8>, PackError> {
        let mut options = Options::new(format.as_bytes());
        let mut values = values.iter();
        let mut out = Vec::new();
        while let Some(layout) = options.next_option(out.len())? {
            pad(&mut out, &layout)?;
            if matches!(layout.kind, Kind::Int | Kind::Uint) {
                pack_int(&mut out, &layout, *values.next().unwrap())?;
            }
        }
        Ok(out)
    }

    #[test]
    fn integers_and_alignment() {
        assert_eq!(
            packed("<i3 >i3", &[-2, -2]).unwrap(),
            b"\xfe\xff\xff\xff\xff\xfe"
        );
        assert_eq!(
            packed("<!4 b i4", &[1, 2]).unwrap(),
            b"\x01\0\0\0\x02\0\0\0"
        );
        assert_eq!(packed("<!b Xh x", &[1]).unwrap(), b"\x01\0\0");
        assert_eq!(
            packed("<I16", &[-1]).unwrap(),
            *b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0"
        );
        assert_eq!(packed("b", &[128]), Err(PackError::IntegerOverflow));
        assert_eq!(packed("B", &[256]), Err(PackError::UnsignedOverflow));
        assert_eq!(packed("B", &[-1]), Err(PackError::UnsignedOverflow));
    }

    #[test]
    fn format_errors() {
        for (format, message) in [
            ("i17", "integral size (17) out of limits [1,16]"),
            ("i0", "integral size (0) out of limits [1,16]"),
            ("c", "missing size for format option 'c'"),
            ("y", "invalid format option 'y'"),
            ("X", "invalid next option for option 'X'"),
            ("Xz", "invalid next option for option 'X'"),
            ("Xc1", "invalid next option for option 'X'"),
            ("!4 i3", "format asks for alignment not power of 2"),
            ("s", "variable-length format"),
            ("z", "variable-length format"),
            ("c2147483639c9", "format result too large"),
            ("c21474836480", "invalid format option '8'"),
        ] {
            assert_eq!(
                pack_size(format.as_bytes()).unwrap_err().to_string(),
                message
            );
        }
        assert_eq!(pack_size(b"!8 b Xd d c3"), Ok(19));
    }

    #[test]
    fn unpacking() {
        let read = |format: &[u8], data: &[u8]| {
            let layout = Options::new(format).next_option(0).unwrap().unwrap();
            unpack(data, 0, &layout)
        };
        assert_eq!(read(b"b", b"\xff"), Ok((Unpacked::Int(-1), 1)));
        assert_eq!(read(b"B", b"\xff"), Ok((Unpacked::Int(255), 1)));
        assert_eq!(read(b"h", b"\xff"), Err(PackError::DataTooShort));
        assert_eq!(read(b"z", b"ab\0"), Ok((Unpacked::Text(0..2), 3)));
        assert_eq!(read(b"z", b"ab"), Err(PackError::UnfinishedString));
        assert_eq!(read(b"s1", b"\x02ab"), Ok((Unpacked::Text(1..3), 3)));
        assert_eq!(read(b"s1", b"\x03ab"), Err(PackError::DataTooShort));
        assert_eq!(
            read(b"i16", &[1; 16]),
            Err(PackError::IntegerDoesNotFit(16))
        );
        assert_eq!(read(b"i16", &[255; 16]), Ok((Unpacked::Int(-1), 16)));
        assert_eq!(
            read(b"I16", &[255; 16]),
            Err(PackError::IntegerDoesNotFit(16))
        );
    }
}
