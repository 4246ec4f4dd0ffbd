//! The documents of a batch, as kernels take them.
#![allow(unsafe_code)]

use std::rc::Rc;

use cudarc::driver::{CudaSlice, DeviceRepr};
use dfdx::tensor::CudaError;

use super::{Address, Gpu, at};

/// The documents of a batch, on the device.
pub struct Documents {
    starts: Vec<usize>,
    /// Number of tokens of the longest document.
    pub longest: usize,
    on_device: CudaSlice<u32>,
    /// Position of every token in its document.
    positions: CudaSlice<u32>,
}

impl Documents {
    /// Number of documents.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Address of the documents' starts.
    pub fn starts(&self) -> Address {
        at(&self.on_device)
    }

    /// All rows of the documents.
    pub fn rows(&self) -> DocumentRows {
        let starts = self.starts();
        DocumentRows {
            starts,
            firsts: starts,
            ends: starts + size_of::<u32>() as Address,
            count: self.count() as u32,
        }
    }

    /// Number of tokens of all documents.
    pub fn tokens(&self) -> usize {
        self.starts[self.count()]
    }

    /// Positions of the tokens, and their number.
    pub fn positions(&self) -> (Address, usize) {
        (at(&self.positions), self.tokens())
    }
}

impl Gpu {
    /// Documents with the given starts and end, on the device. A model asks for the same ones layer after
    /// layer, and a Perceiver for two in turn: the last four are cached.
    pub fn documents(&self, starts: &[usize]) -> Result<Rc<Documents>, CudaError> {
        let mut known = self.documents.borrow_mut();
        if let Some(found) = known.iter().find(|documents| documents.starts == starts) {
            return Ok(found.clone());
        }
        let lengths = || starts.windows(2).map(|w| w[1] - w[0]);
        let documents = Rc::new(Documents {
            starts: starts.to_vec(),
            longest: lengths().max().unwrap_or(0),
            on_device: self.upload_indices(starts.iter().copied())?,
            positions: self.upload_indices(lengths().flat_map(|length| 0..length))?,
        });
        known.truncate(3);
        known.insert(0, documents.clone());
        Ok(documents)
    }
}

/// The rows of documents, for kernels that process them in order, such as cumulative sums. Each address has one number
/// per document. `struct DocumentRows` of common.cuh.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DocumentRows {
    /// The first rows of the documents.
    pub starts: Address,
    /// The first rows that are not done yet.
    pub firsts: Address,
    /// The rows after the last.
    pub ends: Address,
    /// Number of documents.
    pub count: u32,
}

// SAFETY: the same fields in the same order as `struct DocumentRows`, by the same rules of alignment.
unsafe impl DeviceRepr for DocumentRows {}
