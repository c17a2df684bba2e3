title = 'Table 4 on Fashion-MNIST, LeNet-5'
about = """
Where to prune: below the mean score, or above it.
"""
arms = [dict(same_as=f'stability_fashion_mnist/{_arm}') for _arm in ('soft', 'soft_reverse', 'all')]
