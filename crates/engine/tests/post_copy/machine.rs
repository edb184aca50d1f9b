//! A machine without a process that lacks pages: whoever touches one waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use punctual_guest::demand::{Demand, DemandError};
use punctual_guest::{MachineError, Ram};
use punctual_units::{
    Bytes, MemoryLayout, PAGE_SIZE, PageIndex, PageRange, PageSet, Pages, Region,
};

use crate::noise::noise;

pub(crate) const PAGE: usize = PAGE_SIZE.get() as usize;

/// Two regions of different size, so that runs of pages cross a border.
pub(crate) fn layout(pages: u64) -> MemoryLayout {
    let region =
        |name: &str, pages| Region { name: name.to_owned(), size: Pages::new(pages).bytes() };
    MemoryLayout::new(vec![region("ram0", pages / 4), region("dimm1", pages - pages / 4)]).unwrap()
}

/// The memory of a stopped machine: of eight pages one is zero, one a hole, two are text.
pub(crate) fn filled(layout: &MemoryLayout, seed: u64) -> Arc<Ram> {
    let ram = Ram::in_memory(layout.clone()).unwrap();
    let mut seed = seed.max(1);
    for page in 0..layout.pages().get() {
        let content = match page % 8 {
            0 => vec![0; PAGE],
            1 => continue,
            2 | 3 => format!("page {page} of {seed} ").repeat(PAGE).into_bytes()[..PAGE].to_vec(),
            _ => noise(&mut seed),
        };
        ram.write(PageIndex(page), &content).unwrap();
    }
    Arc::new(ram)
}

pub(crate) fn content(ram: &Ram, page: u64) -> Vec<u8> {
    let mut content = vec![0; PAGE];
    ram.read(PageRange::new(page, page + 1), &mut content).unwrap();
    content
}

#[derive(Debug, Default)]
pub(crate) struct Machine {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    /// What is there of each page that was missing at first.
    pages: BTreeMap<u64, Option<Vec<u8>>>,
    capacity: Pages,
    waited_for: Vec<u64>,
    untold: VecDeque<(PageRange, Instant)>,
    faults: u64,
    gone: bool,
    /// So many fills find no memory.
    no_memory: u32,
    finished: bool,
    /// How many pages one of the host's has, if more than one.
    host_page: Option<u64>,
}

impl Machine {
    pub(crate) fn lacking(missing: &PageSet) -> Arc<Self> {
        let inside = Inside {
            pages: missing.iter().map(|page| (page.0, None)).collect(),
            capacity: missing.capacity(),
            ..Inside::default()
        };
        Arc::new(Self { inside: Mutex::new(inside), changed: Condvar::new() })
    }

    /// The same, of a host whose pages are so large.
    pub(crate) fn on_large_pages(missing: &PageSet, host_page: u64) -> Arc<Self> {
        let machine = Self::lacking(missing);
        machine.inside.lock().unwrap().host_page = Some(host_page);
        machine
    }

    /// What the guest reads in a page, once it is there; `None`: the machine is gone.
    pub(crate) fn touch(&self, page: u64) -> Option<Vec<u8>> {
        let mut inside = self.inside.lock().unwrap();
        loop {
            if inside.gone {
                return None;
            }
            match inside.pages.get(&page) {
                None => return Some(vec![0; PAGE]),
                Some(Some(content)) => return Some(content.clone()),
                Some(None) => {}
            }
            if !inside.waited_for.contains(&page) {
                inside.waited_for.push(page);
                inside.faults += 1;
                let size = inside.host_page.unwrap_or(1);
                let first = page / size * size;
                inside.untold.push_back((PageRange::new(first, first + size), Instant::now()));
                self.changed.notify_all();
            }
            inside = self.changed.wait(inside).unwrap();
        }
    }

    /// The guest writes into a page that is there.
    pub(crate) fn write(&self, page: u64, bytes: &[u8]) {
        let mut inside = self.inside.lock().unwrap();
        let content = inside.pages.get_mut(&page).and_then(Option::as_mut).unwrap();
        content[..bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn is_there(&self, page: u64) -> bool {
        self.inside.lock().unwrap().pages[&page].is_some()
    }

    pub(crate) fn is_lacking_at_first(&self, page: u64) -> bool {
        self.inside.lock().unwrap().pages.contains_key(&page)
    }

    pub(crate) fn faults(&self) -> u64 {
        self.inside.lock().unwrap().faults
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.inside.lock().unwrap().finished
    }

    pub(crate) fn find_no_memory(&self, times: u32) {
        self.inside.lock().unwrap().no_memory = times;
    }

    pub(crate) fn die(&self) {
        self.inside.lock().unwrap().gone = true;
        self.changed.notify_all();
    }

    /// The pages whose content is not that of `ram`.
    pub(crate) fn differs_from(&self, ram: &Ram) -> Vec<u64> {
        let inside = self.inside.lock().unwrap();
        let wrong = |(page, there): (&u64, &Option<Vec<u8>>)| {
            (there.as_deref() != Some(&content(ram, *page))).then_some(*page)
        };
        inside.pages.iter().filter_map(wrong).collect()
    }

    fn set(&self, pages: impl Fn(&Inside, u64) -> bool) -> PageSet {
        let inside = self.inside.lock().unwrap();
        let mut set = PageSet::empty(inside.capacity);
        inside.pages.keys().filter(|page| pages(&inside, **page)).for_each(|page| {
            set.insert(PageIndex(*page));
        });
        set
    }

    fn put(&self, pages: PageRange, of: impl Fn(u64) -> Vec<u8>) -> Result<Pages, MachineError> {
        let mut inside = self.inside.lock().unwrap();
        if inside.gone {
            return Err(gone());
        }
        if let Some(size) = inside.host_page
            && !(pages.start.0.is_multiple_of(size) && pages.end.0.is_multiple_of(size))
        {
            let host_page = Pages::new(size).bytes();
            return Err(error(DemandError::PartOfHostPage { pages, host_page }));
        }
        let mut filled = 0;
        for page in pages.iter().map(|page| page.0) {
            let Some(None) = inside.pages.get(&page) else { continue };
            if inside.no_memory > 0 {
                inside.no_memory -= 1;
                return Err(error(DemandError::NoMemory { pid: 1 }));
            }
            inside.pages.insert(page, Some(of(page)));
            inside.waited_for.retain(|waited_for| *waited_for != page);
            filled += 1;
        }
        self.changed.notify_all();
        Ok(Pages::new(filled))
    }
}

fn error(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> MachineError {
    MachineError { machine: "web".to_owned(), action: "test", cause: cause.into() }
}

fn gone() -> MachineError {
    error("its process has ended")
}

impl Demand for Machine {
    fn missing(&self) -> PageSet {
        self.set(|inside, page| inside.pages[&page].is_none())
    }

    fn waited_for(&self) -> PageSet {
        self.set(|inside, page| inside.waited_for.contains(&page))
    }

    fn next_fault(&self, timeout: Duration) -> Result<Option<(PageRange, Instant)>, MachineError> {
        let until = Instant::now() + timeout;
        let mut inside = self.inside.lock().unwrap();
        loop {
            if inside.gone {
                return Err(gone());
            }
            if let Some((pages, since)) = inside.untold.pop_front() {
                if inside.pages[&pages.start.0].is_none() {
                    return Ok(Some((pages, since)));
                }
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            inside = self.changed.wait_timeout(inside, left).unwrap().0;
        }
    }

    fn fill(&self, pages: PageRange, bytes: &[u8]) -> Result<Pages, MachineError> {
        assert_eq!(Bytes::new(bytes.len() as u64), pages.len().bytes());
        self.put(pages, |page| {
            let from = (page - pages.start.0) as usize * PAGE;
            bytes[from..from + PAGE].to_vec()
        })
    }

    fn fill_zero(&self, pages: PageRange) -> Result<Pages, MachineError> {
        self.put(pages, |_| vec![0; PAGE])
    }

    fn finish(&self) -> Result<(), MachineError> {
        let mut inside = self.inside.lock().unwrap();
        if inside.pages.values().any(Option::is_none) {
            return Err(error("pages are missing"));
        }
        inside.finished = true;
        Ok(())
    }
}
