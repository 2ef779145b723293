# What is installed besides libaqmtrain.
install(TARGETS aqmtrain)
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/aqmtrain/configs FILES_MATCHING PATTERN "*.yaml")
