//! What pages would cost on a link, found out from a few of them.
//!
//! Pages are read and encoded as a migration would, and thrown away: the guest notices nothing.

use punctual_guest::{Ram, RamIoError, is_zero};
use punctual_trace::Content;
use punctual_units::{Bytes, PAGE_SIZE, PageIndex, PageRange, PageSet, Pages, Probability};
use punctual_wire::pages::{Encoded, Encoder};

/// How many single pages are looked at to tell the share that is zero: it is known to some 1 %.
const SINGLE: usize = 2048;
/// How many runs are packed to tell what a page takes, and how long they are: as long as what a
/// migration packs together.
const RUNS: usize = 128;
const RUN: u64 = 16;
/// How many pages are packed a second time, and how many of them at most are chosen by one look.
const AGAIN: u64 = 512;
const CHOSEN: usize = 64;
/// Room for the fingerprints of the pages that are packed a second time.
const FINGERPRINTS: Bytes = Bytes::mib(1);

/// Packs pages that are written, once when they are first seen and once when they were written
/// again.
pub(super) struct Rewrites {
    encoder: Encoder,
    /// Packed once, and waiting to be written again.
    waiting: PageSet,
    /// Packed twice.
    done: PageSet,
    /// What the second time took.
    payload: Bytes,
}

impl Rewrites {
    pub(super) fn new(ram: &Ram) -> Self {
        let none = PageSet::empty(ram.layout().pages());
        let encoder = encoder(ram, FINGERPRINTS);
        Self { encoder, waiting: none.clone(), done: none, payload: Bytes::ZERO }
    }

    /// Looks at pages just found written. It takes some milliseconds at most.
    pub(super) fn look(&mut self, ram: &Ram, written: &PageSet) -> Result<(), RamIoError> {
        let mut again = self.waiting.clone();
        again.intersect(written);
        self.payload += pack(&mut self.encoder, ram, again.ranges())?.payload;
        self.waiting.subtract(&again);
        self.done.union(&again);
        if (self.waiting.len() + self.done.len()).get() < AGAIN {
            self.choose(ram, written)?;
        }
        Ok(())
    }

    fn choose(&mut self, ram: &Ram, written: &PageSet) -> Result<(), RamIoError> {
        let mut chosen = PageSet::empty(written.capacity());
        random_pages(written, CHOSEN).for_each(|page| chosen.insert(page));
        chosen.subtract(&self.waiting);
        chosen.subtract(&self.done);
        self.encoder.expect_writes(&chosen);
        pack(&mut self.encoder, ram, chosen.ranges())?;
        self.waiting.union(&chosen);
        Ok(())
    }

    /// Packed bytes of a page sent again; `None` where none was written twice.
    fn mean(&self) -> Option<f64> {
        mean(self.payload, self.done.len())
    }
}

/// What the pages of a machine cost, from a few of those that take up memory. It takes some 20 ms.
pub(super) fn content(
    ram: &Ram,
    populated: &PageSet,
    rewrites: &Rewrites,
) -> Result<Content, RamIoError> {
    let mut page = vec![0; PAGE_SIZE.get() as usize];
    let (mut looked, mut zero) = (0.0, 0.0);
    for index in random_pages(populated, SINGLE) {
        ram.read(PageRange::new(index.0, index.0 + 1), &mut page)?;
        looked += 1.0;
        zero += f64::from(u8::from(is_zero(&page)));
    }
    let runs = random_pages(populated, RUNS).map(|page| run_from(populated, page));
    let packed = pack(&mut encoder(ram, Bytes::ZERO), ram, runs)?;
    let first = mean(packed.payload, packed.whole).unwrap_or(Content::UNKNOWN.first);
    Ok(Content {
        // Of no page at all that is no number, and none of them zero.
        zero: Probability::saturating(zero / looked),
        first: first.min(Content::MOST),
        again: rewrites.mean().unwrap_or(first).min(Content::MOST),
    })
}

/// Nobody decodes what it makes, so its key need not be random.
fn encoder(ram: &Ram, fingerprints: Bytes) -> Encoder {
    Encoder::new(ram.layout().clone(), [0; 32], fingerprints)
}

fn pack(
    encoder: &mut Encoder,
    ram: &Ram,
    runs: impl IntoIterator<Item = PageRange>,
) -> Result<Encoded, RamIoError> {
    encoder.encode(runs, |pages, copies| ram.read(pages, copies), |_| Ok(()))
}

fn mean(bytes: Bytes, pages: Pages) -> Option<f64> {
    (pages > Pages::ZERO).then(|| bytes.get() as f64 / pages.get() as f64)
}

/// As many pages of the set, each as likely as any other; the same may come twice. In rising order.
fn random_pages(set: &PageSet, number: usize) -> impl Iterator<Item = PageIndex> {
    let number = if set.is_empty() { 0 } else { number };
    let mut ranks: Vec<u64> = (0..number).map(|_| rand::random_range(0..set.len().get())).collect();
    ranks.sort_unstable();
    let mut runs = set.ranges();
    let (mut run, mut before) = (PageRange::new(0, 0), 0);
    ranks.into_iter().map(move |rank| {
        while rank >= before + run.len().get() {
            before += run.len().get();
            run = runs.next().expect("a rank is below the number of pages");
        }
        run.start.plus(Pages::new(rank - before))
    })
}

/// The pages of the set from this one on, up to the length of a run.
fn run_from(set: &PageSet, page: PageIndex) -> PageRange {
    let inside = (page.0..page.0 + RUN).take_while(|page| set.contains(PageIndex(*page)));
    PageRange::new(page.0, page.0 + inside.count() as u64)
}

#[cfg(test)]
mod tests {
    use punctual_units::{MemoryLayout, Region};

    use super::*;

    /// 4 MiB: a quarter zero, a quarter that packs well, half that does not.
    fn ram() -> Ram {
        let region = Region { name: "ram0".to_owned(), size: Bytes::mib(4) };
        let ram = Ram::in_memory(MemoryLayout::new(vec![region]).unwrap()).unwrap();
        let mut random = 1_u64;
        for page in 0..1024 {
            let content: Vec<u8> = (0..PAGE_SIZE.get())
                .map(|byte| {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    match page {
                        0..256 => 0,
                        256..512 => (byte % 7) as u8 + 1,
                        _ => (random >> 56) as u8,
                    }
                })
                .collect();
            ram.write(PageIndex(page), &content).unwrap();
        }
        ram
    }

    #[test]
    fn shares_and_sizes_are_those_of_the_memory() {
        let ram = ram();
        let populated = PageSet::full(ram.layout().pages());
        let content = content(&ram, &populated, &Rewrites::new(&ram)).unwrap();
        // Six standard deviations of a share of 2048.
        assert!((content.zero.get() - 0.25).abs() < 0.06, "{content:?}");
        // A third of the others takes next to nothing.
        assert!((1800.0..3800.0).contains(&content.first), "{content:?}");
        assert_eq!(content.again, content.first, "nothing was written again");
    }

    #[test]
    fn a_page_written_again_takes_what_changed() {
        let ram = ram();
        let mut written = PageSet::empty(ram.layout().pages());
        written.insert_range(PageRange::new(600, 632));
        let mut rewrites = Rewrites::new(&ram);
        rewrites.look(&ram, &written).unwrap();
        assert_eq!(rewrites.mean(), None);
        written.iter().for_each(|page| ram.write_at(page, Bytes::new(9), &[1, 2, 3]).unwrap());
        rewrites.look(&ram, &written).unwrap();
        let again = rewrites.mean().unwrap();
        assert!((100.0..400.0).contains(&again), "one block of 256 bytes: {again}");
    }

    #[test]
    fn a_machine_that_takes_up_nothing_has_no_pages_to_look_at() {
        let ram = ram();
        let none = PageSet::empty(ram.layout().pages());
        let content = content(&ram, &none, &Rewrites::new(&ram)).unwrap();
        assert_eq!(content, Content::UNKNOWN);
    }

    #[test]
    fn every_page_of_a_set_can_be_chosen_and_no_other() {
        let mut set = PageSet::empty(Pages::new(100));
        set.insert_range(PageRange::new(3, 5));
        set.insert_range(PageRange::new(90, 100));
        let mut seen = PageSet::empty(Pages::new(100));
        random_pages(&set, 2000).for_each(|page| seen.insert(page));
        assert_eq!(seen, set);
        assert_eq!(run_from(&set, PageIndex(4)), PageRange::new(4, 5));
    }
}
