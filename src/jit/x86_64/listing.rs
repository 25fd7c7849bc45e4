//! Disassembly of an executor's code, for people: each part with the micro-op that it comes from, and names for what
//! instructions refer to.

use std::fmt::{self, Display, Formatter, Write};
use std::mem::offset_of;

use iced_x86::{Code, Decoder, DecoderOptions, FastFormatter, Instruction, OpKind, Register};
use perilune_uops::MicroOp;

use super::BIAS;
use crate::jit::frame::Frame;
use crate::jit::helpers::{self, helper};
use crate::jit::map::Part;
use crate::jit::run::call_out;
use crate::jit::{Info, Machine};
use crate::tier2::executor::Counts;
use crate::tier2::superblock::{ObjectId, Ref, Superblock};
use crate::tier2::text::Names;

/// What is known of addresses outside of the code.
pub type Addresses<'a> = &'a dyn Fn(u64) -> Option<String>;

/// A part of code.
pub struct Section {
    /// Whether it is seldom executed.
    pub rare: bool,
    pub title: String,
    /// The offset and text of each instruction.
    pub lines: Vec<(u32, String)>,
}

impl Display for Section {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let mut lines = self.lines.iter();
        lines.try_for_each(|(offset, line)| writeln!(f, "{offset:>7x}  {line}"))
    }
}

/// The parts of code that has a map.
pub fn list(code: &Machine, sb: &Superblock, addresses: Addresses) -> Vec<Section> {
    let listing = Listing {
        code,
        sb,
        names: sb.names(),
        addresses,
    };
    let parts = code.map.iter().flat_map(|map| map.parts(code.size));
    let section = |(range, part): (std::ops::Range<u32>, Part)| Section {
        rare: !matches!(part, Part::Begin | Part::Node(_)),
        title: listing.title(part),
        lines: match part {
            Part::Literals => listing.literals(range.start),
            _ => listing.instructions(range.start, range.end),
        },
    };
    parts.map(section).filter(|s| !s.lines.is_empty()).collect()
}

struct Listing<'a> {
    code: &'a Machine,
    sb: &'a Superblock,
    names: Names,
    addresses: Addresses<'a>,
}

impl Listing<'_> {
    fn title(&self, part: Part) -> String {
        let node = |i: u32| self.sb.node_text(Ref(i), &self.names);
        match part {
            Part::Begin => "begin".to_owned(),
            Part::Node(i) => node(i).to_string(),
            Part::Cold(i) => format!("rare: {}", node(i)),
            Part::Leave => "leave, everything in memory".to_owned(),
            Part::LinkedEntry => "entry along an edge".to_owned(),
            Part::CalledEntry => "entry of calls and returns".to_owned(),
            Part::Exit(id) => {
                let pc = self.sb.snapshot_at(id).pc;
                format!("exit {} ({}, pc {pc})", id.0, self.names.name(id))
            }
            Part::Out => "way out".to_owned(),
            Part::Literals => "constants".to_owned(),
        }
    }

    fn instructions(&self, start: u32, end: u32) -> Vec<(u32, String)> {
        let bytes = &self.code.bytes()[start as usize..end as usize];
        let address = self.code.address();
        let ip = address + start as u64;
        let mut decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
        let mut formatter = FastFormatter::new();
        let options = formatter.options_mut();
        options.set_use_hex_prefix(true);
        options.set_space_after_operand_separator(true);
        let mut lines = Vec::new();
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.code() == Code::Int3 {
                // Padding.
                continue;
            }
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            if let Some(offset) = self.offset_in_code(&instruction) {
                let mnemonic = text.split(' ').next().unwrap_or_default();
                text = format!("{mnemonic} {offset:x}");
            }
            if let Some(comment) = self.comment(&instruction) {
                // Writing to a string does not fail.
                let _ = write!(
                    text,
                    "{:1$}; {comment}",
                    "",
                    40usize.saturating_sub(text.len())
                );
            }
            lines.push(((instruction.ip() - address) as u32, text));
        }
        lines
    }

    fn literals(&self, start: u32) -> Vec<(u32, String)> {
        let start = (start as usize).next_multiple_of(16);
        let words = self.code.bytes()[start..].chunks_exact(16).enumerate();
        words
            .map(|(i, word)| {
                let bits = u64::from_le_bytes(word[..8].try_into().expect("of eight bytes"));
                let text = format!("dq {bits:#018x}{:18}; {:?}", "", f64::from_bits(bits));
                ((start + 16 * i) as u32, text)
            })
            .collect()
    }

    /// Where a jump leads, if that is in the same code.
    fn offset_in_code(&self, jump: &Instruction) -> Option<u64> {
        if jump.op0_kind() != OpKind::NearBranch64 {
            return None;
        }
        let offset = jump.near_branch_target().wrapping_sub(self.code.address());
        (offset < self.code.size as u64).then_some(offset)
    }

    /// What an instruction refers to.
    fn comment(&self, instruction: &Instruction) -> Option<String> {
        if let Some(offset) = self.offset_in_code(instruction) {
            return self.target(offset as u32);
        }
        if instruction.op0_kind() == OpKind::NearBranch64 {
            return self.pointee(instruction.near_branch_target());
        }
        if instruction.code() == Code::Mov_r64_imm64 {
            return self.pointee(instruction.immediate64());
        }
        if instruction.is_ip_rel_memory_operand() {
            let at = instruction.ip_rel_memory_address() - self.code.address();
            return Some(format!("constant at {at:x}"));
        }
        let in_frame = instruction.memory_base() == Register::RBP
            && instruction.memory_index() == Register::None;
        in_frame.then(|| field(instruction.memory_displacement64() as i64 + BIAS as i64))?
    }

    /// What is at an offset.
    fn target(&self, offset: u32) -> Option<String> {
        if self.sb.looping.is_some() && offset == self.code.loop_start {
            return Some("the loop".to_owned());
        }
        Some(match self.code.map.as_ref()?.at(offset)? {
            Part::Node(i) => self.sb.node(Ref(i)).op.name().to_owned(),
            Part::Cold(i) => format!("rare: {}", self.sb.node(Ref(i)).op),
            Part::Exit(id) => format!("exit {}", id.0),
            part => self.title(part),
        })
    }

    /// What is at an address outside.
    fn pointee(&self, address: u64) -> Option<String> {
        let stubs = &self.code.engine.stubs;
        let info = &raw const *self.code.info as u64;
        let counts = info + offset_of!(Info, counts) as u64;
        let own = [
            (info, "this code's information"),
            (counts + offset_of!(Counts, entries) as u64, "entries"),
            (counts + offset_of!(Counts, passes) as u64, "passes"),
            (stubs.exit(), "exit to the runtime"),
            (stubs.left(), "return to the runtime"),
        ];
        if let Some((_, name)) = own.iter().find(|known| known.0 == address) {
            return Some((*name).to_owned());
        }
        if let Some(at) = self.sb.objects.iter().position(|o| o.addr == address) {
            return Some(format!(
                "{}: {}",
                ObjectId(at as u32),
                self.sb.objects[at].kind
            ));
        }
        let helps = |op: &&MicroOp| helper(**op).is_some_and(|f| f as usize as u64 == address);
        if let Some(op) = MicroOp::ALL.iter().find(helps) {
            return Some(format!("helper of {op}"));
        }
        let functions = [
            (call_out as *const () as u64, "call-out"),
            (helpers::barrier as *const () as u64, "barrier"),
            (helpers::allocate_cell as *const () as u64, "allocation"),
            (
                helpers::get_string as *const () as u64,
                "lookup of a string",
            ),
            (helpers::get_int as *const () as u64, "lookup of an integer"),
            (helpers::get_table as *const () as u64, "lookup of a table"),
            (helpers::next_position as *const () as u64, "traversal"),
        ];
        let function = functions.iter().find(|known| known.0 == address);
        function
            .map(|f| f.1.to_owned())
            .or_else(|| (self.addresses)(address))
    }
}

/// The name of what is at an offset of the frame.
fn field(offset: i64) -> Option<String> {
    let offset = usize::try_from(offset).ok()?;
    let fields = [
        (offset_of!(Frame, state), "state"),
        (offset_of!(Frame, slots), "slots"),
        (offset_of!(Frame, limit), "limit"),
        (offset_of!(Frame, records_end), "records_end"),
        (offset_of!(Frame, output), "output"),
        (offset_of!(Frame, output) + 8, "output's tag"),
        (offset_of!(Frame, exit), "exit"),
        (offset_of!(Frame, left), "left"),
    ];
    if let Some((_, name)) = fields.iter().find(|field| field.0 == offset) {
        return Some((*name).to_owned());
    }
    let arrays = [
        (offset_of!(Frame, xmms), "xmm"),
        (offset_of!(Frame, gprs), "gpr"),
        (offset_of!(Frame, args), "arg"),
        (offset_of!(Frame, spills), "spill"),
    ];
    let (start, name) = arrays.iter().find(|array| array.0 <= offset)?;
    Some(format!("{name} {}", (offset - start) / 8))
}
