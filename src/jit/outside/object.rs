//! Object files in memory, as debuggers read them: ELF with a symbol for the code, how to unwind from it, and its lines.
//!
//! The code itself is not in the file: its section has an address and no content.

use std::collections::BTreeMap;

use super::Code;

// ELF.
const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOBITS: u32 = 8;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const HEADER_SIZE: usize = 64;
const SECTION_SIZE: usize = 64;
const SYMBOL_SIZE: u64 = 24;

/// The sections, by index. The first one, which does not exist, has number 0.
const TEXT: u16 = 1;
const STRTAB: u32 = 3;
const NAMES: u16 = 4;

#[derive(Default)]
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    address: u64,
    /// Of what is not in the file.
    size: u64,
    link: u32,
    info: u32,
    entry_size: u64,
    content: Vec<u8>,
}

/// The object file of some code.
pub fn of(code: &Code) -> Box<[u8]> {
    let size = code.bytes.len() as u64;
    let mut strings = Bytes::default();
    strings.string("");
    let name = strings.0.len() as u32;
    strings.string(code.name);
    let mut symbols = Bytes(vec![0; SYMBOL_SIZE as usize]);
    // A global function, relative to its section.
    symbols.u32(name).u8(0x12).u8(0).u16(TEXT).u64(0).u64(size);
    let section = |name, content: Bytes| Section {
        name,
        kind: SHT_PROGBITS,
        content: content.0,
        ..Section::default()
    };
    let mut sections = vec![
        Section::default(),
        Section {
            name: ".text",
            kind: SHT_NOBITS,
            flags: SHF_ALLOC | SHF_EXECINSTR,
            address: code.address,
            size,
            ..Section::default()
        },
        Section {
            kind: SHT_SYMTAB,
            link: STRTAB,
            // The first global symbol.
            info: 1,
            entry_size: SYMBOL_SIZE,
            ..section(".symtab", symbols)
        },
        Section {
            kind: SHT_STRTAB,
            ..section(".strtab", strings)
        },
        Section {
            kind: SHT_STRTAB,
            ..section(".shstrtab", Bytes::default())
        },
        section(".debug_frame", frames(code)),
    ];
    if !code.lines.is_empty() {
        sections.push(section(".debug_abbrev", abbreviations()));
        sections.push(section(".debug_info", unit(code)));
        sections.push(section(".debug_line", lines(code)));
    }
    let mut names = Bytes::default();
    let offsets: Vec<u32> = sections
        .iter()
        .map(|section| {
            let at = names.0.len() as u32;
            names.string(section.name);
            at
        })
        .collect();
    sections[NAMES as usize].content = names.0;
    write(&sections, &offsets)
}

/// A file of these sections, whose names are at these offsets in the section of names.
fn write(sections: &[Section], names: &[u32]) -> Box<[u8]> {
    let mut file = Bytes::default();
    // 64 bits, little-endian, current version.
    file.bytes(b"\x7fELF\x02\x01\x01").bytes(&[0; 9]);
    // Relocatable, x86-64.
    file.u16(1).u16(62).u32(1).u64(0).u64(0);
    file.u64(HEADER_SIZE as u64).u32(0).u16(HEADER_SIZE as u16);
    file.u16(0).u16(0).u16(SECTION_SIZE as u16);
    file.u16(sections.len() as u16).u16(NAMES);
    let mut at = HEADER_SIZE + SECTION_SIZE * sections.len();
    for (section, name) in sections.iter().zip(names) {
        let size = section.size.max(section.content.len() as u64);
        file.u32(*name).u32(section.kind).u64(section.flags);
        file.u64(section.address).u64(at as u64).u64(size);
        file.u32(section.link).u32(section.info).u64(1);
        file.u64(section.entry_size);
        at += section.content.len();
    }
    sections.iter().for_each(|section| {
        file.bytes(&section.content);
    });
    file.0.into()
}

// DWARF: how to unwind.
const DW_CFA_DEF_CFA: u8 = 0x0C;
const DW_CFA_OFFSET: u8 = 0x80;
/// The numbers that DWARF has for registers.
const RSP: u8 = 7;
const RETURN_ADDRESS: u8 = 16;

/// Everywhere in the code the native stack is as [the entry](crate::jit::Unwinding) leaves it.
fn frames(code: &Code) -> Bytes {
    let unwinding = crate::jit::UNWINDING;
    let mut common = Bytes::default();
    // Not a frame itself, version 1, no augmentation, factors of 1 and -8.
    common.u32(u32::MAX).u8(1).string("").uleb(1).sleb(-8);
    common.u8(RETURN_ADDRESS);
    common.u8(DW_CFA_DEF_CFA).u8(RSP).uleb(unwinding.depth);
    common.u8(DW_CFA_OFFSET | RETURN_ADDRESS).uleb(1);
    for (i, register) in unwinding.saved.iter().enumerate() {
        common.u8(DW_CFA_OFFSET | register).uleb(2 + i as u64);
    }
    let mut frame = Bytes::default();
    // Of the entry at the beginning of the section.
    frame.u32(0).u64(code.address).u64(code.bytes.len() as u64);
    let mut section = Bytes::default();
    for mut entry in [common, frame] {
        // DW_CFA_nop
        entry.0.resize(entry.0.len().next_multiple_of(8) + 4, 0);
        section.u32(entry.0.len() as u32).bytes(&entry.0);
    }
    section
}

// DWARF: lines.
const DW_TAG_COMPILE_UNIT: u8 = 0x11;
const DW_AT_NAME: u8 = 0x03;
const DW_AT_STMT_LIST: u8 = 0x10;
const DW_AT_LOW_PC: u8 = 0x11;
const DW_AT_HIGH_PC: u8 = 0x12;
const DW_AT_COMP_DIR: u8 = 0x1B;
const DW_FORM_ADDR: u8 = 0x01;
const DW_FORM_DATA4: u8 = 0x06;
const DW_FORM_STRING: u8 = 0x08;
const DW_LNS_COPY: u8 = 1;
const DW_LNS_ADVANCE_PC: u8 = 2;
const DW_LNS_ADVANCE_LINE: u8 = 3;
const DW_LNS_SET_FILE: u8 = 4;
const DW_LNE_END_SEQUENCE: u8 = 1;
const DW_LNE_SET_ADDRESS: u8 = 2;

/// The form of the one entry in the section of information.
fn abbreviations() -> Bytes {
    let mut section = Bytes::default();
    // Number 1, without children.
    section.bytes(&[1, DW_TAG_COMPILE_UNIT, 0]);
    section.bytes(&[DW_AT_NAME, DW_FORM_STRING, DW_AT_COMP_DIR, DW_FORM_STRING]);
    section.bytes(&[DW_AT_LOW_PC, DW_FORM_ADDR, DW_AT_HIGH_PC, DW_FORM_ADDR]);
    section.bytes(&[DW_AT_STMT_LIST, DW_FORM_DATA4, 0, 0, 0]);
    section
}

fn unit(code: &Code) -> Bytes {
    let directory = std::env::current_dir().unwrap_or_default();
    let mut unit = Bytes::default();
    // Version 2, abbreviations at 0, addresses of eight bytes.
    unit.u16(2).u32(0).u8(8);
    unit.u8(1).string(&code.lines[0].file);
    unit.string(&directory.to_string_lossy());
    unit.u64(code.address)
        .u64(code.address + code.bytes.len() as u64)
        .u32(0);
    unit.with_length()
}

fn lines(code: &Code) -> Bytes {
    let mut files: BTreeMap<&str, u64> = BTreeMap::new();
    let mut header = Bytes::default();
    // Instructions of one byte, statements, no special opcodes worth mentioning.
    header.u8(1).u8(1).u8(0).u8(1).u8(10);
    header.bytes(&[0, 1, 1, 1, 1, 0, 0, 0, 1]);
    // No directories; files, each with directory, time and size unknown.
    header.u8(0);
    for line in code.lines {
        let next = files.len() as u64 + 1;
        files.entry(&line.file).or_insert_with(|| {
            header.string(&line.file).bytes(&[0, 0, 0]);
            next
        });
    }
    header.u8(0);
    let mut table = Bytes::default();
    table.u16(2).u32(header.0.len() as u32).bytes(&header.0);
    table.bytes(&[0, 9, DW_LNE_SET_ADDRESS]).u64(code.address);
    let (mut at, mut number, mut file) = (0, 1i64, 1);
    for line in code.lines {
        if files[&*line.file] != file {
            file = files[&*line.file];
            table.u8(DW_LNS_SET_FILE).uleb(file);
        }
        table
            .u8(DW_LNS_ADVANCE_PC)
            .uleb((line.offset - at) as u64)
            .u8(DW_LNS_ADVANCE_LINE)
            .sleb(line.line as i64 - number)
            .u8(DW_LNS_COPY);
        (at, number) = (line.offset, line.line as i64);
    }
    let rest = code.bytes.len() as u64 - at as u64;
    table.u8(DW_LNS_ADVANCE_PC).uleb(rest);
    table.bytes(&[0, 1, DW_LNE_END_SEQUENCE]);
    table.with_length()
}

/// A file under construction.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Bytes {
        self.0.extend(bytes);
        self
    }

    fn u8(&mut self, n: u8) -> &mut Bytes {
        self.bytes(&[n])
    }

    fn u16(&mut self, n: u16) -> &mut Bytes {
        self.bytes(&n.to_le_bytes())
    }

    fn u32(&mut self, n: u32) -> &mut Bytes {
        self.bytes(&n.to_le_bytes())
    }

    fn u64(&mut self, n: u64) -> &mut Bytes {
        self.bytes(&n.to_le_bytes())
    }

    /// With a zero behind it.
    fn string(&mut self, text: &str) -> &mut Bytes {
        self.bytes(text.as_bytes()).u8(0)
    }

    /// In groups of seven bits.
    fn uleb(&mut self, mut n: u64) -> &mut Bytes {
        while n >= 0x80 {
            self.u8(n as u8 | 0x80);
            n >>= 7;
        }
        self.u8(n as u8)
    }

    fn sleb(&mut self, mut n: i64) -> &mut Bytes {
        while !(-0x40..0x40).contains(&n) {
            self.u8(n as u8 | 0x80);
            n >>= 7;
        }
        self.u8(n as u8 & 0x7F)
    }

    /// With its length before it.
    fn with_length(self) -> Bytes {
        let mut section = Bytes::default();
        section.u32(self.0.len() as u32).bytes(&self.0);
        section
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Line;
    use super::*;

    #[test]
    fn numbers_are_written_in_groups_of_seven_bits() {
        let mut bytes = Bytes::default();
        bytes.uleb(2).uleb(127).uleb(128).uleb(12857);
        assert_eq!(bytes.0, [2, 127, 0x80, 1, 0xB9, 0x64]);
        let mut bytes = Bytes::default();
        bytes.sleb(2).sleb(-2).sleb(127).sleb(-128);
        assert_eq!(bytes.0, [2, 0x7E, 0xFF, 0, 0x80, 0x7F]);
    }

    #[test]
    fn sections_are_where_the_table_says() {
        let line = |offset, line| Line {
            offset,
            file: "loops.lua".to_owned(),
            line,
        };
        let lines = [line(0, 3), line(40, 1)];
        let code = Code {
            name: "f loops.lua:3",
            address: 0x1234_5000,
            bytes: &[0x90; 100],
            lines: &lines,
        };
        let file = of(&code);
        let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
        let half = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let count = file[60] as usize;
        let section = |i: usize| {
            let at = word(40) as usize + SECTION_SIZE * i;
            (half(at), half(at + 4), at)
        };
        let content = |i: usize| {
            let (_, _, at) = section(i);
            &file[word(at + 24) as usize..][..word(at + 32) as usize]
        };
        let names = content(file[62] as usize);
        let name = |i: usize| {
            let name = &names[section(i).0..];
            let end = name.iter().position(|&b| b == 0).unwrap();
            str::from_utf8(&name[..end]).unwrap()
        };
        let found = |wanted: &str| (0..count).find(|&i| name(i) == wanted).unwrap();
        let (_, kind, at) = section(found(".text"));
        assert_eq!(
            (kind as u32, word(at + 16), word(at + 32)),
            (SHT_NOBITS, 0x1234_5000, 100)
        );
        let symbols = content(found(".symtab"));
        assert_eq!(symbols.len(), 48);
        let name_at = u32::from_le_bytes(symbols[24..28].try_into().unwrap()) as usize;
        assert_eq!(&content(found(".strtab"))[name_at..], b"f loops.lua:3\0");
        for with_length in [".debug_info", ".debug_line"] {
            let content = content(found(with_length));
            let length = u32::from_le_bytes(content[..4].try_into().unwrap());
            assert_eq!(length as usize + 4, content.len());
        }
        // The second line: 40 bytes on, two lines back.
        let table = content(found(".debug_line"));
        let row = [
            DW_LNS_ADVANCE_PC,
            40,
            DW_LNS_ADVANCE_LINE,
            0x7E,
            DW_LNS_COPY,
        ];
        assert!(table.windows(5).any(|w| w == row));
    }
}
