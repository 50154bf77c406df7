//! What Python sees: arrays come as buffers, lengths are checked, and the lock is released while a loop runs.

mod loops;

use loops::BLOCK;
use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::slice;

/// The elements of an array. Nobody else writes to them during a call: the caller says so, as for any function of numpy's.
fn read<'a, T: Element>(array: &'a PyBuffer<T>) -> PyResult<&'a [T]> {
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err("an array must be contiguous"));
    }
    match array.item_count() {
        0 => Ok(&[]),
        count => Ok(unsafe { slice::from_raw_parts(array.buf_ptr() as *const T, count) }),
    }
}

fn write<'a, T: Element>(array: &'a PyBuffer<T>) -> PyResult<&'a mut [T]> {
    if array.readonly() {
        return Err(PyValueError::new_err("an array to write to is read-only"));
    }
    let elements = read(array)?;
    Ok(unsafe { slice::from_raw_parts_mut(elements.as_ptr() as *mut T, elements.len()) })
}

fn alike(lengths: &[usize]) -> PyResult<()> {
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(PyValueError::new_err(format!("arrays of different lengths: {lengths:?}")));
    }
    Ok(())
}

fn blocks(count: usize) -> usize {
    count.div_ceil(BLOCK)
}

#[pyfunction]
fn largest(py: Python<'_>, values: PyBuffer<f32>, out: PyBuffer<f64>) -> PyResult<()> {
    let (values, out) = (read(&values)?, write(&out)?);
    alike(&[blocks(values.len()), out.len()])?;
    py.detach(|| loops::largest(values, out));
    Ok(())
}

#[pyfunction]
fn quantise(py: Python<'_>, values: PyBuffer<f32>, scales: PyBuffer<f32>, out: PyBuffer<i8>) -> PyResult<()> {
    let (values, scales, out) = (read(&values)?, read(&scales)?, write(&out)?);
    alike(&[blocks(values.len()), scales.len()])?;
    alike(&[values.len(), out.len()])?;
    py.detach(|| loops::quantise(values, scales, out));
    Ok(())
}

#[pyfunction]
fn dequantise(py: Python<'_>, levels: PyBuffer<i8>, scales: PyBuffer<f32>, out: PyBuffer<f32>) -> PyResult<()> {
    let (levels, scales, out) = (read(&levels)?, read(&scales)?, write(&out)?);
    alike(&[blocks(levels.len()), scales.len()])?;
    alike(&[levels.len(), out.len()])?;
    py.detach(|| loops::dequantise(levels, scales, out));
    Ok(())
}

#[pyfunction]
fn squares(py: Python<'_>, values: PyBuffer<f32>) -> PyResult<f64> {
    let values = read(&values)?;
    Ok(py.detach(|| loops::squares(values)))
}

#[pyfunction]
fn squared_distance(py: Python<'_>, one: PyBuffer<f32>, other: PyBuffer<f32>) -> PyResult<f64> {
    let (one, other) = (read(&one)?, read(&other)?);
    alike(&[one.len(), other.len()])?;
    Ok(py.detach(|| loops::squared_distance(one, other)))
}

#[pyfunction]
fn moved(py: Python<'_>, own: PyBuffer<f32>, others: Vec<PyBuffer<f32>>, weights: PyBuffer<f32>, out: PyBuffer<f32>) -> PyResult<bool> {
    let (own, weights, out) = (read(&own)?, read(&weights)?, write(&out)?);
    let others = others.iter().map(read).collect::<PyResult<Vec<_>>>()?;
    alike(&[others.len(), weights.len()])?;
    alike(&[own.len(), out.len()])?;
    for other in &others {
        alike(&[own.len(), other.len()])?;
    }
    Ok(py.detach(|| loops::moved(own, &others, weights, out)))
}

#[pyfunction]
fn is_finite(py: Python<'_>, values: PyBuffer<f32>) -> PyResult<bool> {
    let values = read(&values)?;
    Ok(py.detach(|| loops::is_finite(values)))
}

#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn step(
    py: Python<'_>,
    start: PyBuffer<f32>,
    values: PyBuffer<f32>,
    momentum: PyBuffer<f32>,
    changed: PyBuffer<f32>,
    mu: f32,
    rate: f32,
    nesterov: bool,
) -> PyResult<()> {
    let (start, values, momentum, changed) = (read(&start)?, write(&values)?, read(&momentum)?, write(&changed)?);
    alike(&[start.len(), values.len(), momentum.len(), changed.len()])?;
    py.detach(|| loops::step(start, values, momentum, changed, mu, rate, nesterov));
    Ok(())
}

#[pymodule]
fn learnae_kernels(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(largest, module)?)?;
    module.add_function(wrap_pyfunction!(quantise, module)?)?;
    module.add_function(wrap_pyfunction!(dequantise, module)?)?;
    module.add_function(wrap_pyfunction!(squares, module)?)?;
    module.add_function(wrap_pyfunction!(squared_distance, module)?)?;
    module.add_function(wrap_pyfunction!(moved, module)?)?;
    module.add_function(wrap_pyfunction!(is_finite, module)?)?;
    module.add_function(wrap_pyfunction!(step, module)?)?;
    Ok(())
}
