use std::collections::HashMap;

use punctual_units::{Bytes, PageIndex, PageRange};

use super::PAGE;

/// How many bytes of a page one fingerprint stands for.
///
/// Hashing takes the same time with 128, 256 and 512. Half as much would halve what a scattered
/// write costs on the wire (263 bytes), and the number of pages that a budget holds as well.
/// `examples/encode_speed.rs` measures it.
pub(super) const BLOCK: usize = 256;

const BLOCKS: usize = PAGE / BLOCK;

/// How many pages' fingerprints are allocated at once.
const SLAB: usize = 1024;

/// One keyed hash for each block: 128 bits, since a collision would leave a wrong page behind.
type Prints = [[u8; 16]; BLOCKS];

/// A set of the blocks of a page, the first at bit 0.
pub(super) type Blocks = u16;

/// Fingerprints of what the destination has, for as many pages as the budget allows.
pub(super) struct Fingerprints {
    key: [u8; 32],
    /// Where a page's fingerprints are.
    slots: HashMap<PageIndex, u32>,
    slabs: Vec<Box<[Prints]>>,
    free: Vec<u32>,
    most: usize,
}

impl Fingerprints {
    /// What one page costs: its fingerprints, and its places in the table (which doubles when it
    /// grows) and in the list of free slots.
    const COST: usize = size_of::<Prints>() + 4 * 16 + 4;

    pub(super) fn new(key: [u8; 32], budget: Bytes) -> Self {
        let most = usize::try_from(budget.get()).unwrap_or(usize::MAX) / Self::COST;
        let most = most.min(u32::MAX as usize);
        Self { key, slots: HashMap::new(), slabs: Vec::new(), free: Vec::new(), most }
    }

    pub(super) fn contains(&self, page: PageIndex) -> bool {
        self.slots.contains_key(&page)
    }

    /// Takes note of what the destination will have; does nothing when the budget is used up.
    pub(super) fn insert(&mut self, page: PageIndex, content: &[u8; PAGE]) {
        if self.change(page, content).is_none()
            && let Some(slot) = self.allocate()
        {
            let prints = Self::of(&self.key, content);
            *self.at(slot) = prints;
            self.slots.insert(page, slot);
        }
    }

    /// Which blocks differ from what the destination has, and takes note that it will have
    /// `content`; `None` if it is not known what the destination has.
    pub(super) fn change(&mut self, page: PageIndex, content: &[u8; PAGE]) -> Option<Blocks> {
        let slot = *self.slots.get(&page)?;
        let new = Self::of(&self.key, content);
        let old = self.at(slot);
        let mut changed = 0;
        for block in 0..BLOCKS {
            changed |= Blocks::from(old[block] != new[block]) << block;
        }
        *old = new;
        Some(changed)
    }

    pub(super) fn remove(&mut self, pages: PageRange) {
        if self.slots.is_empty() {
            return;
        }
        for page in pages.iter() {
            self.free.extend(self.slots.remove(&page));
        }
    }

    pub(super) fn clear(&mut self) {
        self.free.extend(self.slots.drain().map(|(_, slot)| slot));
    }

    /// How much memory is in use, tables included.
    pub(super) fn memory(&self) -> Bytes {
        let prints: usize = self.slabs.iter().map(|slab| size_of_val(&**slab)).sum();
        let slots = self.slots.capacity() * 17;
        Bytes::new((prints + slots + self.free.capacity() * 4) as u64)
    }

    fn of(key: &[u8; 32], content: &[u8; PAGE]) -> Prints {
        let mut prints = [[0; 16]; BLOCKS];
        for (print, block) in prints.iter_mut().zip(content.chunks_exact(BLOCK)) {
            print.copy_from_slice(&blake3::keyed_hash(key, block).as_bytes()[..16]);
        }
        prints
    }

    fn allocate(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let used = self.slots.len();
        if used >= self.most {
            return None;
        }
        if used == self.slabs.len() * SLAB {
            let length = SLAB.min(self.most - used);
            self.slabs.push(vec![[[0; 16]; BLOCKS]; length].into_boxed_slice());
        }
        u32::try_from(used).ok()
    }

    fn at(&mut self, slot: u32) -> &mut Prints {
        &mut self.slabs[slot as usize / SLAB][slot as usize % SLAB]
    }
}
