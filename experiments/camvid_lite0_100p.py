_base_ = './camvid_lite0.py'

title = 'UperNet-Lite0 on CamVid, pretrained, 100 passes'
about = """
As camvid_lite0, in 100 passes, as 40 are no plateau. The learning rate is that of camvid_lite0.
"""
schedule = 1.0
