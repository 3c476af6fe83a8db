import pytest
import torch
from torch.nn import functional

from workers.finetuning.logits import FusedGradient, fused_gradient
from workers.finetuning.loss import chunked_cross_entropy

POSITIONS, WIDTH, VOCABULARY = 37, 16, 101


def inputs(dtype=torch.float32):
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH).to(dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH).to(dtype).requires_grad_()
    bias = torch.randn(VOCABULARY).to(dtype).requires_grad_()
    labels = torch.randint(0, VOCABULARY, (POSITIONS,))
    labels[::5] = -100
    return hidden, weight, bias, labels


def reference(hidden, weight, bias, labels):
    logits = (hidden @ weight.T).float()
    logits = logits if bias is None else logits + bias.float()
    return functional.cross_entropy(logits, labels, reduction="sum")


@pytest.mark.parametrize("chunk_size", [1, 7, 1000, None])
@pytest.mark.parametrize("has_bias", [True, False])
def test_equals_the_reference_forward_and_backward(chunk_size, has_bias):
    hidden, weight, bias, labels = inputs()
    tensors = [hidden, weight, *([bias] if has_bias else [])]
    expected = reference(hidden, weight, bias if has_bias else None, labels)
    wanted = torch.autograd.grad(expected / 3, tensors)
    loss = chunked_cross_entropy(hidden, weight, labels, bias if has_bias else None, chunk_size)
    found = torch.autograd.grad(loss / 3, tensors)
    torch.testing.assert_close(loss, expected)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_gradients_pass_the_numeric_check_in_double_precision():
    hidden, weight, bias, labels = inputs(torch.float64)
    reference_grad = torch.autograd.grad(
        functional.cross_entropy(hidden @ weight.T + bias, labels, reduction="sum"), hidden
    )[0]
    loss = chunked_cross_entropy(hidden, weight, labels, bias, 5)
    torch.testing.assert_close(
        torch.autograd.grad(loss, hidden)[0], reference_grad, rtol=1e-5, atol=1e-5
    )


def test_bfloat16_stays_within_its_precision():
    hidden, weight, _, labels = inputs(torch.bfloat16)
    expected = reference(hidden.float(), weight.float(), None, labels)
    loss = chunked_cross_entropy(hidden, weight, labels, None, 8)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=0.1)
    loss.backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.bfloat16


def test_a_frozen_head_gets_no_gradient_and_none_is_computed():
    hidden, weight, _, labels = inputs()
    weight = weight.detach()
    loss = chunked_cross_entropy(hidden, weight, labels)
    loss.backward()
    assert weight.grad is None
    assert hidden.grad is not None
    assert bool((hidden.grad[::5] == 0).all())


def test_measuring_computes_no_gradient():
    """The product for the weights' gradient costs as much as the one for the logits."""
    products = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if func._schema.name.startswith(("aten::mm", "aten::addmm")):
                products.append(tuple(result.shape))
            return result

    hidden, weight, bias, labels = inputs()
    expected = chunked_cross_entropy(hidden, weight, labels, bias)
    with torch.no_grad(), Watch():
        found = chunked_cross_entropy(hidden, weight, labels, bias)
    assert torch.equal(found, expected)
    assert products == [(int((labels != -100).sum()), VOCABULARY)]


def test_the_gradient_of_a_bias_is_summed_in_single_precision():
    hidden, weight, bias, labels = (one.detach() for one in inputs(torch.bfloat16))
    bias = bias.float().requires_grad_()
    exact = (hidden @ weight.T).float() + bias
    expected = torch.autograd.grad(functional.cross_entropy(exact, labels, reduction="sum"), bias)[
        0
    ]
    found = torch.autograd.grad(chunked_cross_entropy(hidden, weight, labels, bias, 8), bias)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_tensor_as_large_as_the_logits_is_made():
    """The largest allocation of a step stays at the size of one chunk."""
    sizes: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    torch.manual_seed(0)
    hidden = torch.randn(512, 4, requires_grad=True)
    weight = torch.randn(1000, 4, requires_grad=True)
    with Watch():
        chunked_cross_entropy(hidden, weight, torch.arange(512), None, 32).backward()
    assert max(sizes) == 32 * 1000


def test_nothing_to_learn_is_zero():
    hidden, weight, _, _ = inputs()
    loss = chunked_cross_entropy(hidden, weight, torch.full((POSITIONS,), -100))
    loss.backward()
    assert loss.item() == 0


def test_a_second_backward_is_refused():
    """The gradients were scaled in place, so a second one would scale them again."""
    hidden, weight, _, labels = inputs()
    loss = chunked_cross_entropy(hidden, weight, labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_under_autocast_the_products_run_in_its_dtype():
    """GPT-2's last layer norm gives float32 there, whose products would be many times slower."""
    hidden, weight, _, labels = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = chunked_cross_entropy(hidden, weight, labels)
    lowered = chunked_cross_entropy(hidden.bfloat16(), weight.detach(), labels)
    assert torch.equal(loss, lowered)
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.float32


def test_the_fused_kernel_computes_the_same_over_padded_columns():
    """What a GPU compiles, here as it is written."""
    torch.manual_seed(1)
    logits, targets = torch.randn(9, 64), torch.randint(0, 50, (9,))
    expected = logits[:, :50].clone().requires_grad_()
    loss = functional.cross_entropy(expected, targets, reduction="sum")
    loss.backward()
    found, derivative = fused_gradient(logits, targets, 50)
    torch.testing.assert_close(found, loss)
    torch.testing.assert_close(derivative[:, :50], expected.grad)
    assert bool((derivative[:, 50:] == 0).all())


def attempt(fused):
    return fused.attempt(torch.randn(3, 8), torch.tensor([1, 2, 3]), 8)


def test_without_a_compiler_the_loss_makes_do_without_its_kernel():
    """A CUDA image that had none for C let every fine-tune fail at its first step."""
    tries = []

    def compiled(*_):
        tries.append(torch._dynamo.config.suppress_errors)
        raise RuntimeError("Failed to find C compiler.")

    fused = FusedGradient(compiled)
    with torch._dynamo.config.patch(suppress_errors=True):
        assert attempt(fused) is None
        assert attempt(fused) is None
    assert tries == [False], "tried once, and so that a failure shows"


def test_a_full_device_says_nothing_of_the_compiler():
    full = [True]

    def compiled(*inputs):
        if full.pop():
            raise torch.OutOfMemoryError
        return fused_gradient(*inputs)

    fused = FusedGradient(compiled)
    with pytest.raises(torch.OutOfMemoryError):
        attempt(fused)
    full.append(False)
    assert attempt(fused) is not None


def test_a_compiled_kernel_leaves_what_it_is_given_as_it_is():
    torch.manual_seed(2)
    logits, targets = torch.randn(9, 64), torch.randint(0, 50, (9,))
    before = logits.clone()
    found = FusedGradient(torch.compile(fused_gradient, backend="eager")).attempt(
        logits, targets, 50
    )
    torch._dynamo.reset()
    assert found is not None
    assert torch.equal(logits, before)
    torch.testing.assert_close(found, fused_gradient(logits, targets, 50))
