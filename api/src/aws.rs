//! ECS (2014-11-13) and ECR (2015-09-21) request and response shapes, as AWS JSON 1.1 carries them.
