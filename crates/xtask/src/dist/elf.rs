//! What an executable asks of the system that runs it, read from its ELF header and program headers.
//!
//! Only what the check needs: 64-bit little-endian files, the interpreter, the needed libraries and position
//! independence, where it begins (System V ABI, chapters 4 and 5).

use anyhow::{Context as _, bail, ensure};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const ET_DYN: u16 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;

/// Fails unless the file is a position-independent executable that needs no interpreter and no library.
pub(crate) fn check_static_pie(file: &[u8]) -> anyhow::Result<()> {
    let elf = Elf::parse(file)?;
    ensure!(elf.kind == ET_DYN, "is not position independent (ELF type {})", elf.kind);
    ensure!(elf.segment(PT_INTERP).is_none(), "asks for an interpreter");
    ensure!(elf.segment(PT_LOAD).is_some(), "has nothing to load");
    let dynamic = elf.segment(PT_DYNAMIC).context("has no dynamic section, so it cannot be relocated")?;
    let mut flags = 0;
    for (tag, value) in entries(file, dynamic)? {
        match tag {
            DT_NULL => break,
            DT_NEEDED => bail!("needs a shared library"),
            DT_FLAGS_1 => flags = value,
            _ => {}
        }
    }
    ensure!(flags & DF_1_PIE != 0, "is a shared library, not an executable");
    Ok(())
}

/// What a dynamically linked file asks of the linker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) interpreter: Option<String>,
    /// Names of libraries.
    pub(crate) needed: Vec<String>,
}

/// Reads what a program or library needs of others.
pub(crate) fn links(file: &[u8]) -> anyhow::Result<Links> {
    let elf = Elf::parse(file)?;
    let text = |offset: u64| -> anyhow::Result<String> {
        let bytes =
            usize::try_from(offset).ok().and_then(|start| file.get(start..)).context("is cut short")?;
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8(bytes.to_vec()).context("names something that is not UTF-8")
    };
    let interpreter = elf.segment(PT_INTERP).map(|segment| text(segment.offset)).transpose()?;
    let Some(dynamic) = elf.segment(PT_DYNAMIC) else { return Ok(Links { interpreter, needed: Vec::new() }) };
    let entries = entries(file, dynamic)?;
    let entries: Vec<_> = entries.into_iter().take_while(|(tag, _)| *tag != DT_NULL).collect();
    let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB).map(|(_, address)| *address);
    let needed = entries.iter().filter(|(tag, _)| *tag == DT_NEEDED).map(|(_, at)| {
        let table = strings.and_then(|address| elf.offset_of(address)).context("has no table of names")?;
        text(table.checked_add(*at).context("is cut short")?)
    });
    Ok(Links { interpreter, needed: needed.collect::<anyhow::Result<_>>()? })
}

/// Where in the file the first instruction is.
pub(crate) fn entry_offset(file: &[u8]) -> anyhow::Result<u64> {
    let elf = Elf::parse(file)?;
    elf.offset_of(u64::from_le_bytes(read(file, 24)?)).context("begins nowhere in the file")
}

#[derive(Debug)]
struct Elf {
    kind: u16,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Elf {
    fn parse(file: &[u8]) -> anyhow::Result<Self> {
        ensure!(file.starts_with(b"\x7fELF\x02\x01"), "is not a 64-bit little-endian ELF file");
        let kind = u16::from_le_bytes(read(file, 16)?);
        let table = u64::from_le_bytes(read(file, 32)?);
        let entry_size = u64::from(u16::from_le_bytes(read(file, 54)?));
        let count = u64::from(u16::from_le_bytes(read(file, 56)?));
        let segment = |index: u64| -> anyhow::Result<Segment> {
            let at = table + index * entry_size;
            Ok(Segment {
                kind: u32::from_le_bytes(read(file, at)?),
                offset: u64::from_le_bytes(read(file, at + 8)?),
                address: u64::from_le_bytes(read(file, at + 16)?),
                size: u64::from_le_bytes(read(file, at + 32)?),
            })
        };
        Ok(Self { kind, segments: (0..count).map(segment).collect::<Result<_, _>>()? })
    }

    /// Where in the file an address is.
    fn offset_of(&self, address: u64) -> Option<u64> {
        let holds = |segment: &&Segment| {
            segment.kind == PT_LOAD
                && (segment.address..segment.address.saturating_add(segment.size)).contains(&address)
        };
        let segment = self.segments.iter().find(holds)?;
        segment.offset.checked_add(address - segment.address)
    }

    fn segment(&self, kind: u32) -> Option<Segment> {
        self.segments.iter().copied().find(|segment| segment.kind == kind)
    }
}

/// The tag and value pairs of a dynamic section.
fn entries(file: &[u8], dynamic: Segment) -> anyhow::Result<Vec<(u64, u64)>> {
    const ENTRY: u64 = 16;
    let pair = |index: u64| -> anyhow::Result<(u64, u64)> {
        let at = dynamic.offset + index * ENTRY;
        Ok((u64::from_le_bytes(read(file, at)?), u64::from_le_bytes(read(file, at + 8)?)))
    };
    (0..dynamic.size / ENTRY).map(pair).collect()
}

fn read<const N: usize>(file: &[u8], offset: u64) -> anyhow::Result<[u8; N]> {
    let start = usize::try_from(offset).context("an offset is too large")?;
    let bytes = start.checked_add(N).and_then(|end| file.get(start..end)).context("is cut short")?;
    bytes.try_into().context("is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An executable of this very machine: dynamically linked, so it must be refused.
    #[test]
    fn dynamically_linked_program_is_refused() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = check_static_pie(&file).unwrap_err().to_string();
        assert!(error.contains("interpreter"), "{error}");
    }

    #[test]
    fn libraries_and_interpreter_of_a_program_are_read() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let links = links(&file).unwrap();
        assert!(links.interpreter.unwrap().contains("ld"));
        assert!(links.needed.iter().any(|name| name.starts_with("libc.so")), "{:?}", links.needed);
        assert!(usize::try_from(entry_offset(&file).unwrap()).unwrap() < file.len());
    }

    #[test]
    fn truncated_and_foreign_files_are_refused_without_panic() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in 0..256 {
            assert!(check_static_pie(&file[..length]).is_err());
        }
        assert!(check_static_pie(b"#!/bin/sh\n").is_err());
    }
}
