title = 'Table 3 on Fashion-MNIST, LeNet-5'
about = """
Soft pruning, rescaling and annealing one by one, beside random pruning, at a size for a CPU.
"""
_ARMS = ['random', 'soft_neither', 'soft_no_annealing', 'soft_no_rescaling', 'soft', 'all']
arms = [dict(same_as=f'stability_fashion_mnist/{_arm}') for _arm in _ARMS]
