//! Where the values of snapshots are.
//!
//! A table of bytes: for each node whose value snapshots have, the places of its parts, which are the same in all of them. What the
//! values are of, and their types, the superblock says.

use super::CompileError;
use super::allocation::{Allocation, Place};
use super::plan::{Located, Plan};
use crate::tier2::superblock::{Ref, SnapshotId, Superblock};
use perilune_uops::Type;

// Numbers below these are registers.
const XMM: u8 = 0x10;
const SPILL: u8 = 0x20;
/// A word of the frame beyond the short ones; two bytes follow.
const FAR_SPILL: u8 = 0x7D;
/// A constant; two bytes follow.
const CONST: u8 = 0x7E;
const NONE: u8 = 0x7F;
/// From here on numbers are small constants.
const SMALL: u8 = 0x80;

/// See the module's documentation.
pub struct ExitTable {
    bytes: Box<[u8]>,
    /// For each node where the bytes of its value begin.
    starts: Box<[u16]>,
    constants: Box<[u64]>,
}

impl ExitTable {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.bytes) + size_of_val(&*self.starts) + size_of_val(&*self.constants)
    }

    pub fn new(plan: &Plan, allocation: &Allocation) -> Result<ExitTable, CompileError> {
        let sb = plan.sb;
        let mut mentioned = vec![false; sb.nodes.len()];
        sb.slots
            .iter()
            .for_each(|(_, r)| mentioned[r.index()] = true);
        let mut bytes = Vec::with_capacity(2 * sb.nodes.len());
        let (mut constants, mut starts) = (Vec::new(), Vec::with_capacity(sb.nodes.len()));
        for (parts, mentioned) in plan.parts.iter().zip(mentioned) {
            let r = Ref(starts.len() as u32);
            starts.push(u16::try_from(bytes.len()).map_err(|_| CompileError::TooLarge)?);
            if mentioned {
                let count = if sb.type_of(r) == Type::Tagged { 2 } else { 1 };
                for &part in &parts[..count] {
                    put(&mut bytes, &mut constants, allocation.place(part))?;
                }
            }
        }
        Ok(ExitTable {
            bytes: bytes.into(),
            starts: starts.into(),
            constants: constants.into(),
        })
    }

    /// Where the values of a snapshot are.
    pub fn at<'a>(
        &'a self,
        sb: &'a Superblock,
        id: SnapshotId,
    ) -> impl Iterator<Item = Located> + 'a {
        sb.values_of(id).iter().map(move |&(_, r)| {
            let mut rest = &self.bytes[self.starts[r.index()] as usize..];
            let ty = sb.type_of(r);
            let mut places = [Place::None; 2];
            for place in places
                .iter_mut()
                .take(if ty == Type::Tagged { 2 } else { 1 })
            {
                *place = self.take(&mut rest);
            }
            Located { ty, places }
        })
    }

    fn take(&self, rest: &mut &[u8]) -> Place {
        let first = rest[0];
        *rest = &rest[1..];
        let mut two = || {
            let n = u16::from_le_bytes([rest[0], rest[1]]);
            *rest = &rest[2..];
            n
        };
        match first {
            NONE => Place::None,
            CONST => Place::Const(self.constants[two() as usize]),
            FAR_SPILL => Place::Spill(two()),
            0..XMM => Place::Gpr(first),
            XMM..SPILL => Place::Xmm(first - XMM),
            SPILL..FAR_SPILL => Place::Spill((first - SPILL) as u16),
            SMALL.. => Place::Const((first - SMALL) as u64),
        }
    }
}

fn put(bytes: &mut Vec<u8>, constants: &mut Vec<u64>, place: Place) -> Result<(), CompileError> {
    match place {
        Place::Gpr(r) => bytes.push(r),
        Place::Xmm(x) => bytes.push(XMM + x),
        Place::Spill(word) if word < (FAR_SPILL - SPILL) as u16 => bytes.push(SPILL + word as u8),
        Place::Spill(word) => {
            bytes.push(FAR_SPILL);
            bytes.extend(word.to_le_bytes());
        }
        Place::Const(bits) if bits < SMALL as u64 => bytes.push(SMALL + bits as u8),
        Place::Const(bits) => {
            let at = constants
                .iter()
                .position(|&c| c == bits)
                .unwrap_or_else(|| {
                    constants.push(bits);
                    constants.len() - 1
                });
            bytes.push(CONST);
            bytes.extend(
                u16::try_from(at)
                    .map_err(|_| CompileError::TooLarge)?
                    .to_le_bytes(),
            );
        }
        // Of values that no code makes: of virtual objects, or no node uses the snapshot.
        Place::None => bytes.push(NONE),
    }
    Ok(())
}
